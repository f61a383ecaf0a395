"""Failures of calls to apps that a test plans ahead."""

from dataclasses import dataclass, field
from typing import Literal

from inngest_server.execution.http1 import Headers, Response
from inngest_server.execution.transport import TransportError

Failure = Literal["refused", "reset", "timeout", "lost_answer"]
FAILURES: tuple[Failure, ...] = ("refused", "reset", "timeout", "lost_answer")


@dataclass(slots=True)
class Fault:
    """Fails some of the calls that come from now on."""

    numbers: frozenset[int]
    """Which of the calls that it concerns, counted from 1."""
    function: str | None
    """Local or composite id of the function; None for every one."""
    failure: Failure | None
    status: int
    seen: int = field(default=0, init=False)

    def concerns(self, slug: str) -> bool:
        return self.function is None or is_named(slug, self.function)

    def strikes(self, slug: str) -> bool:
        """Count the call, and say whether it is to fail."""
        if not self.concerns(slug):
            return False
        self.seen += 1
        return self.seen in self.numbers


def is_named(slug: str, name: str) -> bool:
    """Whether a composite id is meant by a name: itself, or its part behind the app's id."""
    return slug == name or slug.endswith(f"-{name}")


def failed(fault: Fault) -> Response:
    """What comes of a call instead of an answer.

    Raises:
        TransportError: no answer came.
    """
    match fault.failure:
        case "refused":
            raise TransportError("refused", "the test planned it")
        case "timeout":
            raise TransportError("timeout", "the test planned it")
        case "reset" | "lost_answer":
            raise TransportError("reset", "the test planned it")
        case None:
            return Response(fault.status, Headers({"content-type": "text/plain"}), b"the test planned it")
