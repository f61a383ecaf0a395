"""Error objects that runs and steps end with, as functions and lists show them."""

from typing import Any, cast

from inngest_server.wire import json


def error_object(name: str, message: str, **extra: Any) -> bytes:
    """A standard error object. Source: protocol 4.8."""
    return json.dumps({"error": f"{name}: {message}", "name": name, "message": message, **extra})


def plain_error(name: str, message: str) -> bytes:
    """The error object of an invocation that has no output of its own. Source: protocol 5.6."""
    return json.dumps({"name": name, "message": message})


def published_error(error: bytes) -> dict[str, Any]:
    """The `error` of a system event: what the app reported, with missing pieces filled in.

    Source: protocol 5.3.
    """
    given = json.parse_kept(error)
    found = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    name = found.get("name") if isinstance(found.get("name"), str) else "Error"
    message = found.get("message") if isinstance(found.get("message"), str) else "Function execution error"
    text = found.get("error") if isinstance(found.get("error"), str) else f"{name}: {message}"
    return {**found, "error": text, "name": name, "message": message}


class RunFailure(Exception):
    """Ends the run at once, without another try. Carries the error object."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message)
        self.error = error_object(name, message)


class MalformedOpError(Exception):
    """An opcode lacks what it needs; the attempt counts as failed."""

    code = "malformed_op"


class SignalConflict(RunFailure):
    def __init__(self) -> None:
        super().__init__("Error", "Signal conflict; signal wait already exists for another run")
