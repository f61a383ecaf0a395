"""What the adapters of all frameworks share: where to serve, and the parts of a request in one form."""

from __future__ import annotations

import os
from collections.abc import Iterable
from urllib.parse import quote

from .._config import DEFAULT_SERVE_PATH
from ..errors import ConfigError

# What RFC 3986 allows in a path besides letters, digits and the escapes that `quote` never makes.
_SAFE_IN_PATHS = "/:@!$&'()*+,;=~"


def missing_library(library: str, *, extra: str) -> ImportError:
    """The error of a module that needs a package which is not installed."""
    return ImportError(
        f"this part of the SDK needs the package {library}, which is not installed; install it, "
        f'or from the repository the SDK with its extra: pip install "./sdk[{extra}]"',
        name=library,
    )


_MODULES = {"fastapi": "fast_api"} | {
    name: name for name in ("aiohttp", "flask", "litestar", "quart", "sanic", "starlette", "tornado")
}


def check_app(app: object, *, needs: str, framework: str) -> None:
    """Refuse what is no application of the framework; `needs` is what each of its applications has.

    Raises:
        ConfigError: it is something else.
    """
    if hasattr(app, needs):
        return
    kind = type(app)
    package = kind.__module__.partition(".")[0]
    if package == "inngest":
        hint = ": the application comes first, then the client, then the functions"
    elif package == "django":
        hint = "; inngest.django.serve makes a path for urls.py"
    elif package in _MODULES and _MODULES[package] != framework:
        hint = f"; for that there is inngest.{_MODULES[package]}.serve()"
    else:
        hint = ""
    raise ConfigError(f"inngest.{framework}.serve() takes an application, not {kind.__name__}{hint}")


def path_to_serve(serve_path: str | None) -> str:
    """Where an app answers: the option, else INNGEST_SERVE_PATH, else /api/inngest; with a leading slash."""
    path = serve_path or os.environ.get("INNGEST_SERVE_PATH") or DEFAULT_SERVE_PATH
    return "/" + path.lstrip("/")


def url_of(scheme: str, host: str, path: str | bytes, query: str) -> str:
    """The address of a request; `path` is unquoted, as ASGI and WSGI give it, `query` is not."""
    url = f"{scheme}://{host}{quote(path, safe=_SAFE_IN_PATHS)}"
    return f"{url}?{query}" if query else url


def headers_of(pairs: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Headers by lower-case name; the values of a repeated one are joined, as RFC 9110 section 5.3 says."""
    headers: dict[str, str] = {}
    for name, value in pairs:
        key = name.lower()
        headers[key] = f"{headers[key]}, {value}" if key in headers else value
    return headers
