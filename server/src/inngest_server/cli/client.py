"""Asking a running server for something, over its interface's own API, and saying what came of it."""

import json
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from inngest_server.cli.config import Config
from inngest_server.cli.config_file import ConfigError
from inngest_server.storage.sqlite.lock import FILE_NAME as LOCK_NAME
from inngest_server.wire.signature import InvalidSigningKeyError, bearer_hash, check_signing_key

DEFAULT_URL = "http://127.0.0.1:8288"
TIMEOUT_S = 60.0
DONE, NOT_DONE = 0, 1
"""Exit statuses of the commands that ask a server."""
EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}
"""Addresses to listen on that nobody can connect to."""


class ServerRefusedError(Exception):
    """The server did not answer, or not with what was asked; the message says what to try."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        """Of the server's answer; empty where it has none."""


class Client:
    """A server under a URL."""

    def __init__(self, url: str, signing_key: str | None) -> None:
        self.url = url.rstrip("/")
        self._headers = {"content-type": "application/json"}
        if signing_key is not None:
            self._headers["authorization"] = f"Bearer {bearer_hash(signing_key)}"

    def call(self, method: str, path: str, body: object = None) -> Any:
        """The JSON that the server answers to a request for `path`, which is below `/api/ui/v1`.

        Raises:
            ServerRefusedError: it does not answer, or refuses; the message has its reason and hint.
        """
        data = None if body is None else json.dumps(body).encode()
        # Straight to the server, whatever proxy the environment names.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            url = f"{self.url}/api/ui/v1{path}"
            request = urllib.request.Request(url, data, self._headers, method=method)
            with opener.open(request, timeout=TIMEOUT_S) as response:
                return json.load(response)
        except urllib.error.HTTPError as error:
            with error:
                raise self._refusal(error) from error
        except (OSError, ValueError, HTTPException) as error:
            raise ServerRefusedError(no_answer(self.url, error)) from error

    def _refusal(self, error: urllib.error.HTTPError) -> ServerRefusedError:
        if error.code == 401 and "authorization" in self._headers:
            return ServerRefusedError(
                f"the server at {self.url} has another signing key than the one given"
                " by --signing-key or INNGEST_SIGNING_KEY"
            )
        if error.code == 401:
            return ServerRefusedError(
                f"the server at {self.url} wants its signing key: give --signing-key or INNGEST_SIGNING_KEY"
            )
        try:
            answer = json.load(error)
            hint = f"; {answer['hint']}" if answer["hint"] else ""
            return ServerRefusedError(f"{answer['message']}{hint}", str(answer.get("code", "")))
        except (ValueError, KeyError, TypeError, AttributeError):
            return ServerRefusedError(f"the server at {self.url} refused: HTTP {error.code}, {error.reason}")


def no_answer(url: str, error: Exception) -> str:
    """What people are told when a request to a server failed, or what came is no answer of one."""
    reason = error.reason if isinstance(error, urllib.error.URLError) else error
    if isinstance(reason, ConnectionRefusedError):
        return f"no server answers at {url}: is it running there? --server and --sqlite-dir say where to look"
    if isinstance(reason, HTTPException) and not isinstance(reason, OSError):
        return f"what answers at {url} does not speak HTTP: {str(reason)[:100]!r}"
    return f"the server at {url} does not answer: {reason or type(error).__name__}"


def client_of(config: Config) -> Client:
    """The server that a command's flags mean.

    Raises:
        ConfigError: the URL or the signing key is none.
        ServerRefusedError: a server runs on the directory and does not say where it listens.
    """
    key = config.values["signing-key"]
    if isinstance(key, str):
        try:
            check_signing_key(key)
        except InvalidSigningKeyError as error:
            raise ConfigError(f"{config.where('signing-key')}: {error}") from error
    url = config.values["server"]
    if isinstance(url, str):
        if not _is_url(url):
            raise ConfigError(f"{config.where('server')}: {url!r} is no URL such as {DEFAULT_URL}")
    else:
        directory = Path(config.text("sqlite-dir"))
        url = url_of(directory) if (directory / LOCK_NAME).is_file() else DEFAULT_URL
    return Client(url, key if isinstance(key, str) else None)


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # Brackets that are not closed, a port beyond 65535.
        return False


def url_of(directory: Path) -> str:
    """Where the holder of the lock listens.

    Raises:
        ServerRefusedError: the lock does not say.
    """
    try:
        url: str = json.loads((directory / LOCK_NAME).read_text())["url"]
        host, _, port = urlsplit(url).netloc.rpartition(":")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ServerRefusedError(
            f"{directory / LOCK_NAME} does not say where its server listens; try again in a moment"
        ) from error
    host = EVERYWHERE.get(host.strip("[]"), host.strip("[]"))
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
