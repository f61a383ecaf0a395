"""URLs of apps and functions: one spelling for each app, and where a step is called."""

from urllib.parse import SplitResult, quote, unquote_plus, urlsplit

from inngest_server.apps.problems import show

__all__ = [
    "CONNECT_SCHEMES",
    "HTTP_SCHEMES",
    "URL_CHARS_MAX",
    "InvalidAppURLError",
    "call_url",
    "normalize_app_url",
]

URL_CHARS_MAX = 2_048
"""What common servers and proxies still take."""

HTTP_SCHEMES = frozenset({"http", "https"})
CONNECT_SCHEMES = frozenset({"ws", "wss"})
"""Functions of a Connect worker, whatever their `runtime.type` says (protocol 2.3)."""

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}
_LOCAL_HOSTS = frozenset({"127.0.0.1", "0.0.0.0"})
_SYNC_QUERY = frozenset({"deployId", "probe"})
_STEP_QUERY = "stepId"


class InvalidAppURLError(ValueError):
    """The text is no absolute URL of an app."""

    code = "invalid_url"

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f"{show(url)} {reason}; an example is http://localhost:3000/api/inngest")
        self.url = url


def normalize_app_url(url: str) -> str:
    """The one spelling of an app's or function's URL; normalising twice changes nothing.

    Protocol 2.5: drops the queries `deployId` and `probe`, the port that the scheme has anyway, and
    writes the hosts 127.0.0.1 and 0.0.0.0 with an explicit port as localhost. A fragment, which never
    travels, is dropped too; scheme and host are lower case; all else stays as it was.

    Raises:
        InvalidAppURLError: not absolute, no host, another scheme than http, https, ws or wss, or longer
            than `URL_CHARS_MAX`.
    """
    parts, port = _split(url)
    if port == _DEFAULT_PORTS[parts.scheme]:
        port = None
    userinfo, at, _ = parts.netloc.rpartition("@")
    host = (parts.hostname or "").lower()
    if host in _LOCAL_HOSTS and port is not None:
        host = "localhost"
    if ":" in host:
        host = f"[{host}]"
    netloc = userinfo + at + host + ("" if port is None else f":{port}")
    query = "&".join(pair for pair in parts.query.split("&") if _name(pair) not in _SYNC_QUERY)
    return parts._replace(netloc=netloc, query=query, fragment="").geturl()


def call_url(function_url: str, step_id: str) -> str:
    """Where a step of the function is called: its URL with `stepId` set to `step_id` (protocol 3.1).

    An existing `stepId` is replaced where it stands; all other queries, `fnId` among them, keep their
    place and spelling.

    Raises:
        InvalidAppURLError: as `normalize_app_url`.
    """
    parts, _ = _split(function_url)
    step = f"{_STEP_QUERY}={quote(step_id, safe='')}"
    pairs: list[str] = []
    for pair in parts.query.split("&"):
        if _name(pair) != _STEP_QUERY:
            pairs.append(pair)
        elif step not in pairs:
            pairs.append(step)
    if step not in pairs:
        pairs.append(step)
    return parts._replace(query="&".join(pair for pair in pairs if pair), fragment="").geturl()


def _split(url: str) -> tuple[SplitResult, int | None]:
    """The parts of a valid URL and its explicit port."""
    if len(url) > URL_CHARS_MAX:
        raise InvalidAppURLError(url, f"is longer than {URL_CHARS_MAX} characters")
    # urlsplit would drop some of these silently, and the URL would no longer be the one that was sent.
    if any(char.isspace() or not char.isprintable() for char in url):
        raise InvalidAppURLError(url, "contains spaces or control characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidAppURLError(url, f"is not a URL ({error})") from error
    if parts.scheme not in _DEFAULT_PORTS:
        raise InvalidAppURLError(url, "does not begin with http://, https://, ws:// or wss://")
    if not parts.hostname:
        raise InvalidAppURLError(url, "names no host")
    return parts, port


def _name(pair: str) -> str:
    return unquote_plus(pair.partition("=")[0])
