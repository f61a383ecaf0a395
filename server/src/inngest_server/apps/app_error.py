"""Why an app could not be synced: from the result of a PUT to a code and a sentence for its author.

Pure: the caller sends the PUT (protocol 2.1) and hands over the answer or the kind of failure.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlsplit

from inngest_server.apps.fields import is_object
from inngest_server.apps.problems import show
from inngest_server.wire.json import InvalidJSONError, parse

__all__ = [
    "AppError",
    "TransportFailure",
    "app_error_from_response",
    "app_error_from_transport",
    "missing_server_signing_key",
]

_MESSAGE_CHARS_MAX = 4_000
"""Of what an app answered: enough for a registration with many problems, too little for a web page."""

_CONTAINER_HINT_HOSTS = frozenset({"localhost", "127.0.0.1", "0.0.0.0", "::1"})

TransportFailure = Literal[
    "refused",
    "timeout",
    "dns",
    "tls",
    "certificate",
    "reset",
    "redirects",
    "invalid_url",
    "out_of_reach",
    "other",
]
"""Why no answer came. `tls`: one side speaks TLS, the other does not. `certificate`: TLS works, but the
certificate is not trusted. `redirects`: too many of them. `out_of_reach`: the server connects to no such
address."""


@dataclass(frozen=True, slots=True)
class AppError:
    """What is wrong with an app, shown until a sync succeeds. A value: nobody raises it."""

    code: str
    """Of protocol 2.1; `not_sdk`, `server_kind_mismatch` and `sdk_rejected` are our additions to it."""
    message: str
    """For people. With `sdk_rejected` it is what the app itself said, word for word."""


def app_error_from_response(
    status: int, headers: Mapping[str, str], body: bytes, url: str
) -> AppError | None:
    """What the answer to a PUT tells about the app at `url`; None when the app accepted the sync.

    An answer is an SDK's if it has `X-Inngest-SDK` or `x-inngest-sdk-handled`: in cloud mode SDKs strip
    all but the latter from answers to strangers (protocol 13). A success without either comes from
    something else that listens there.
    """
    names = {name.lower() for name in headers}
    is_sdk = "x-inngest-sdk" in names or "x-inngest-sdk-handled" in names
    match status:
        case 400:
            return _from_bad_request(body, url)
        case 401 if is_sdk and _message_of(body).startswith(_OUR_REFUSAL):
            return _refused_by_us(401, body, url)  # TypeScript passes our own answer on.
        case 401 if is_sdk:
            return AppError(
                "unauthorized",
                f"the app at {url} rejected this server's signature (HTTP 401); check that both "
                "have the same INNGEST_SIGNING_KEY, and set INNGEST_DEV=1 in the app if this is a dev server",
            )
        case 401:
            return AppError(
                "unauthorized",
                f"{url} asks for a login (HTTP 401) and no Inngest SDK answered; let PUT, POST and GET on "
                "this path pass the app's own authentication",
            )
        case 403:
            return AppError(
                "forbidden",
                f"{url} refuses access (HTTP 403); let PUT, POST and GET on this path pass firewalls, CSRF "
                "checks and the app's own authentication",
            )
        case 404:
            return AppError(
                "url_not_found",
                f"nothing is served at {url} (HTTP 404); check the path: most SDKs serve /api/inngest",
            )
        case 500:
            said = _message_of(body)
            return AppError(
                "internal_server_error",
                f"the app failed at {url} (HTTP 500); see the app's own log"
                + (f". It said: {said}" if said else ""),
            )
        case _ if is_sdk:
            refused = _number_of(body, "status")
            return _refused_by_us(refused, body, url) if refused >= 400 else None
        case _:
            return AppError(
                "not_sdk",
                f"{url} answered HTTP {status}, but not with an Inngest SDK; check that port and path are "
                "those of your app and that the functions are served there",
            )


_OUR_REFUSAL = "Authentication failed"


def _refused_by_us(status: int, body: bytes, url: str) -> AppError:
    """The app announced itself and this server refused it. Python then answers 200 with our error as body."""
    code = "unauthorized" if status == 401 else _field_of(body, "code") or "sdk_rejected"
    message = f"this server refused the registration of the app at {url}: {_message_of(body)}"
    if status == 401:
        message += "; give app and server the same INNGEST_SIGNING_KEY, and the app INNGEST_DEV=0"
    return AppError(code, message)


# What an SDK says in a 400 (protocol 2.1): a text in its message, the code, what to try.
_REJECTIONS = (
    (
        "No functions registered",
        "no_functions",
        "the app serves no functions; pass at least one to serve()",
    ),
    (
        "function is invalid",
        "invalid_function",
        "the configuration of a function is invalid",
    ),
    (
        "You didn't specify your workspace's signing key",
        "missing_signing_key",
        "the app has no signing key; set INNGEST_SIGNING_KEY in it, or INNGEST_DEV=1 for a dev server",
    ),
    (
        "No INNGEST_ENV branch name found",
        "missing_branch_env_name",
        "the app has no name for its branch environment; set INNGEST_ENV in it",
    ),
)


def _from_bad_request(body: bytes, url: str) -> AppError:
    said = _message_of(body)
    if said == "Your signing key is invalid":
        return AppError(
            "invalid_signing_key",
            f"the app at {url} has an invalid signing key; give it the INNGEST_SIGNING_KEY of this server",
        )
    for text, code, advice in _REJECTIONS:
        if text in said:
            return AppError(code, f"{advice}. The app at {url} said: {said}")
    if _field_of(body, "code") == "server_kind_mismatch":
        return AppError(
            "server_kind_mismatch",
            f"the app at {url} expects another kind of server; set INNGEST_DEV=1 in the app for a dev "
            f"server, or INNGEST_DEV=0 for one that was started with `start`. It said: {said}",
        )
    if not said:
        return AppError("sdk_rejected", f"the app at {url} rejected the sync (HTTP 400) and did not say why")
    return AppError("sdk_rejected", said)


def app_error_from_transport(kind: TransportFailure, url: str, detail: str = "") -> AppError:
    """Why `url` gave no answer at all; `detail` is what the client library said, added for experts."""
    sentence = _sentence(kind, url)
    # A refused or unknown localhost is most often a container that asks itself (users.md, row 11).
    hint = _container_hint(url) if kind in ("refused", "timeout", "reset", "dns") else ""
    code = {"tls": "unsupported_protocol", "out_of_reach": "address_refused"}.get(kind, "unreachable")
    if hint and not sentence.endswith("?"):
        sentence += "."
    reason = f" ({_one_line(detail)})" if detail else ""
    return AppError(code, f"{code}: {sentence}{hint}{reason}")


def _sentence(kind: TransportFailure, url: str) -> str:
    match kind:
        case "refused":
            return f"connection refused at {url}; is the app running, and on this port?"
        case "timeout":
            return f"no answer from {url} in time; is the app overloaded, or a firewall in between?"
        case "dns":
            return f"the host of {url} has no address; check its spelling and this server's DNS"
        case "tls":
            other = "http://" if url.startswith("https:") else "https://"
            return f"{url} does not speak this protocol; try the same address with {other}"
        case "certificate":
            return (
                f"the certificate of {url} is not trusted; use one of a known authority, or http:// locally"
            )
        case "reset":
            return f"the connection to {url} broke off before an answer; look for a crash in the app's log"
        case "redirects":
            return f"{url} redirects too often; use the address at which the redirects end"
        case "invalid_url":
            return f"{show(url)} is no address; use one such as http://localhost:3000/api/inngest"
        case "out_of_reach":
            return (
                f"{url} leads to a link-local address or a metadata service, where no app is called; use "
                "another address of the app"
            )
        case "other":
            return f"no answer from {url}"


def _container_hint(url: str) -> str:
    """Advice for servers inside a container; empty unless the URL names the server's own host."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return ""
    if parts.hostname not in _CONTAINER_HINT_HOSTS:
        return ""
    host = "host.docker.internal" + ("" if port is None else f":{port}")
    there = parts._replace(netloc=host).geturl()
    return f" Inside a container localhost is the container itself: use {there}"


def missing_server_signing_key() -> AppError:
    """For servers that demand keys and have none themselves: nothing is sent to the app at all."""
    return AppError(
        "missing_server_signing_key",
        "this server has no signing key and cannot sign requests; start it with --signing-key or "
        "INNGEST_SIGNING_KEY, the same as in the app",
    )


def _message_of(body: bytes) -> str:
    """The `message` of a JSON answer, else the text itself unless it is a web page; bounded."""
    said = _field_of(body, "message") or _field_of(body, "error")
    if not said and not body.lstrip().startswith((b"{", b"[", b"<")):
        said = body[: 4 * _MESSAGE_CHARS_MAX].decode("utf-8", "replace")
    return said.strip()[:_MESSAGE_CHARS_MAX]


def _field_of(body: bytes, name: str) -> str:
    value = _value_of(body, name)
    return value if isinstance(value, str) else ""


def _number_of(body: bytes, name: str) -> int:
    value = _value_of(body, name)
    return value if isinstance(value, int) else 0


def _value_of(body: bytes, name: str) -> object:
    try:
        answer: object = parse(body)
    except InvalidJSONError:
        return None
    return answer.get(name) if is_object(answer) else None


def _one_line(text: str) -> str:
    return " ".join(text.split())[:300]
