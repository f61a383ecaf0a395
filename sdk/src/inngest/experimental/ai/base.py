"""What an adapter has to answer, and what the adapters of this package have in common."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

from inngest.errors import ConfigError

__all__ = ["BaseAdapter", "ProviderAdapter"]


@runtime_checkable
class BaseAdapter(Protocol):
    """One model of one provider. Any object with these methods will do for `step.ai.infer`."""

    def auth_key(self) -> str:
        """The key; the server sends it in the way of the `format`."""
        ...

    def format(self) -> str:
        """The provider's dialect, by its name on the wire: `openai-chat`, `anthropic` or `gemini`."""
        ...

    def headers(self) -> dict[str, str]:
        """Headers to send beside those of authentication."""
        ...

    def on_call(self, body: dict[str, Any]) -> None:
        """Complete the body in place, just before it is sent."""
        ...

    def url_infer(self) -> str:
        """The URL to POST the body to."""
        ...


class ProviderAdapter:
    """A provider whose URL is a base and a path, and whose body names the model.

    `base_url` is for gateways and compatible providers: it replaces the part before the path, version
    included (`https://api.openai.com/v1`). `headers` add to the provider's own and win over them.
    """

    _base_url: str
    _path: str
    _format: str = "openai-chat"
    _own_headers: dict[str, str] = {}  # noqa: RUF012  # Never changed: `headers` gives a copy.

    def __init__(
        self, *, auth_key: str, model: str, base_url: str | None = None, headers: dict[str, str] | None = None
    ) -> None:
        if base_url is not None and not base_url.startswith(("http://", "https://")):
            raise ConfigError(
                f"base_url {base_url!r} has to begin with https:// or http://, as {self._base_url!r} does"
            )
        self._auth_key = auth_key
        self._model = model
        self._base = (base_url or self._base_url).rstrip("/")
        self._headers = {**self._own_headers, **(headers or {})}

    def auth_key(self) -> str:
        return self._auth_key

    def format(self) -> str:
        return self._format

    def headers(self) -> dict[str, str]:
        return dict(self._headers)

    def on_call(self, body: dict[str, Any]) -> None:
        """Name the model, unless the body does."""
        body.setdefault("model", self._model)

    def url_infer(self) -> str:
        return f"{self._base}/{self._path}"

    def __repr__(self) -> str:
        # Without the key, so that it stays out of logs.
        return f"{type(self).__module__}.Adapter(model={self._model!r}, url={self.url_infer()!r})"
