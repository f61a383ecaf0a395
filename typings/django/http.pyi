from collections.abc import AsyncIterable, Iterable, Mapping

class HttpRequest:
    method: str | None
    headers: Mapping[str, str]
    def build_absolute_uri(self, location: str | None = None) -> str: ...
    def read(self, size: int = ...) -> bytes: ...

class HttpResponse:
    def __init__(
        self, content: bytes = b"", *, status: int | None = None, headers: Mapping[str, str] | None = None
    ) -> None: ...

class StreamingHttpResponse:
    def __init__(
        self,
        streaming_content: Iterable[bytes] | AsyncIterable[bytes] = (),
        *,
        status: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None: ...
