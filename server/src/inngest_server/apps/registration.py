"""The body of `POST /fn/register`: what an app says about itself when it syncs (protocol 2.2, 2.3)."""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import cast

from inngest_server.apps.config import ID_CHARS_MAX, FunctionConfig
from inngest_server.apps.fields import Fields, is_object
from inngest_server.apps.problems import Findings, Problem, RegistrationInvalidError, show
from inngest_server.apps.urls import InvalidAppURLError, normalize_app_url
from inngest_server.wire.json import canonical

__all__ = [
    "DEPTH_MAX",
    "DeployType",
    "Problem",
    "Registration",
    "RegistrationInvalidError",
    "parse_registration",
]

DEPTH_MAX = 64
"""Levels of nesting in a body. Real ones have seven; a hostile one must not exhaust our stack."""

_CHECKSUM_VERSION = 1
EDITED_INPUT = "edited_input"
"""The capability with which our own SDK says what the official TypeScript ones do unsaid."""
"""Raise when this server learns to read more of a config, so that unchanged apps are stored again."""


class DeployType(StrEnum):
    """How the functions of an app are reached."""

    PING = "ping"
    """Served over HTTP."""
    CONNECT = "connect"
    """Registered by the Connect gateway on behalf of a worker."""


@dataclass(frozen=True, slots=True)
class Registration:
    """A valid sync. Texts that the app left out are empty."""

    app_name: str
    url: str
    """Normalised; empty only for a connected app."""
    framework: str
    sdk: str
    """As sent: `py:v0.5.19`."""
    sdk_language: str
    sdk_version: str
    """Without the `v`."""
    app_version: str
    takes_input: bool
    """Whether the SDK runs a step with an edited input (protocol 3.3); others take it for the result."""
    deploy_type: DeployType
    functions: tuple[FunctionConfig, ...]
    checksum: str
    """Equal for two syncs that say the same; neither order of functions nor spelling of URLs matters."""
    warnings: tuple[Problem, ...]


def parse_registration(body: object) -> Registration:
    """Read a decoded JSON body.

    Zero functions are accepted. A function's id must be there once only: the reference server keeps
    whichever comes last, and the other would never run.

    Raises:
        RegistrationInvalidError: carries every problem of the app and of all its functions.
    """
    if not is_object(body):
        raise _undecodable(f"the body is {show(body)}, not an object")
    if not _is_shallow(body):
        raise _undecodable(f"the body is nested deeper than {DEPTH_MAX} levels")
    findings = Findings()
    app = Fields(body, findings)
    app_name = app.text("appName") or ""
    if app.get("appName") in (None, ""):
        app.refuse("appName", "app_id_required", "App ID required; give the client of your app an id")
    if len(app_name) > ID_CHARS_MAX:
        app.refuse(
            "appName", "too_long", f"has {len(app_name)} characters; at most {ID_CHARS_MAX} are allowed"
        )
    deploy_type = _read_deploy_type(app)
    url = _read_url(app, deploy_type)
    sdk = app.text("sdk") or ""
    language, version = _split_sdk(sdk)
    framework = app.text("framework") or ""
    app_version = app.text("appVersion") or ""
    takes_input = _takes_input(app, language)
    functions = _read_functions(app)
    if findings.problems:
        raise RegistrationInvalidError(findings.problems)
    return Registration(
        app_name=app_name,
        url=url,
        framework=framework,
        sdk=sdk,
        sdk_language=language,
        sdk_version=version,
        app_version=app_version,
        takes_input=takes_input,
        deploy_type=deploy_type,
        functions=functions,
        checksum=_checksum(
            [app_name, url, framework, sdk, app_version, deploy_type.value, str(takes_input)], functions
        ),
        warnings=tuple(findings.warnings),
    )


def _takes_input(app: Fields, language: str) -> bool:
    """The official TypeScript SDKs do, without a word about it (protocol 13); others say that they do."""
    capabilities = app.get("capabilities")
    return language == "js" or (is_object(capabilities) and EDITED_INPUT in capabilities)


def _undecodable(message: str) -> RegistrationInvalidError:
    return RegistrationInvalidError(
        [Problem(None, "", "invalid_request", f"Invalid request: {message}; send what an SDK sends")]
    )


def _is_shallow(body: object) -> bool:
    """Whether `body` has at most `DEPTH_MAX` levels; looks at it level by level, without recursion."""
    level: list[object] = [body]
    for _ in range(DEPTH_MAX):
        below: list[object] = []
        for value in level:
            if is_object(value):
                below.extend(value.values())
            elif isinstance(value, list):
                below.extend(cast("list[object]", value))
        if not below:
            return True
        level = below
    return not any(isinstance(value, dict | list) for value in level)


def _read_deploy_type(app: Fields) -> DeployType:
    """`ping` when absent: Python sends `deploy_type` instead (protocol 13), which is read as well."""
    name = "deployType" if app.get("deployType") is not None else "deploy_type"
    text = app.text(name)
    if text is None:
        return DeployType.PING
    try:
        return DeployType(text)
    except ValueError:
        app.warn(name, "unknown_value", f'{show(text)} is unknown and counts as "ping"')
        return DeployType.PING


def _read_url(app: Fields, deploy_type: DeployType) -> str:
    if deploy_type is DeployType.CONNECT and app.get("url") in (None, ""):
        return ""
    url = app.required_text("url", "set the absolute URL at which the app is served")
    try:
        return normalize_app_url(url) if url else ""
    except InvalidAppURLError as error:
        app.refuse("url", "url_invalid", str(error))
        return ""


def _split_sdk(sdk: str) -> tuple[str, str]:
    language, _, version = sdk.partition(":")
    return language, version.removeprefix("v")


def _read_functions(app: Fields) -> tuple[FunctionConfig, ...]:
    functions: dict[str, FunctionConfig] = {}
    for entry in app.children("functions"):
        function = FunctionConfig.read(entry.json, app.findings, entry.path)
        if function.id and function.id in functions:
            app.findings.about(function.id).refuse(
                "id", "duplicate", "is used by two functions; give one of them another id"
            )
        functions[function.id] = function
    return tuple(functions.values())


def _checksum(about_app: list[str], functions: tuple[FunctionConfig, ...]) -> str:
    """SHA-256 of all that is kept of a sync: internal, any stable hash would do (protocol 2.5).

    The raw configurations take part, so that a change which only shows in them is stored too; their
    `steps` do not, because they repeat the URL under whichever name the app was reached.
    """
    every: list[object] = [
        [function.to_json(), _without_steps(function.raw)]
        for function in sorted(functions, key=lambda function: function.id)
    ]
    content = canonical([_CHECKSUM_VERSION, about_app, every], big_ints="exact")
    return hashlib.sha256(content).hexdigest()


def _without_steps(raw: Mapping[str, object]) -> dict[str, object]:
    return {name: value for name, value in raw.items() if name.lower() != "steps"}
