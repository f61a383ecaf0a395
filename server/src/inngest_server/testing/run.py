"""A run as tests look at it. Each attribute is read anew: it shows what is so now."""

import json
from collections.abc import Callable, Coroutine, Iterator, Mapping
from datetime import UTC, datetime
from difflib import get_close_matches
from logging import LogRecord
from typing import Any, NamedTuple, TypeVar, cast, overload

from inngest_server.runs.fork import PastStep, past_of
from inngest_server.runs.records import JournalRow, RunStatus
from inngest_server.storage.protocol import RunHistory
from inngest_server.testing.errors import UnknownStepError
from inngest_server.testing.node import Node
from inngest_server.traces.payloads import Output, output_of, output_of_run
from inngest_server.traces.span import Span, SpanKind, walk
from inngest_server.traces.text import timeline
from inngest_server.traces.trace import trace_of

T = TypeVar("T")
Read = Callable[[Coroutine[Any, Any, Any]], Any]
"""Runs a reading of the node to its end."""
_D = TypeVar("_D")


class RunError(NamedTuple):
    """Why a run or a step failed."""

    name: str
    message: str
    stack: str = ""


class Step(NamedTuple):
    """A step of a run, as it stood when it was read."""

    name: str
    id: str
    """Hashed."""
    kind: str
    """`step`, `sleep`, `wait_for_event`, `wait_for_signal`, `invoke`, `ai` or `gateway` (`step.fetch`)."""
    status: str
    """`Queued`, `Running`, `Waiting`, `Completed`, `Failed` or `Cancelled`."""
    output: Any
    """Its result; None while there is none, and of a wait that timed out."""
    error: RunError | None
    """Why it failed for good, or else its last try so far."""
    attempts: int
    """Tries of it so far; 0 for what is no code of the app and no request."""
    input: Any
    """Its arguments, as far as the SDK tells them."""


class Steps(Mapping[str, Step]):
    """Steps by name, in the order in which the run came to them; a second one of a name is `name#2`."""

    def __init__(self, steps: Mapping[str, Step]) -> None:
        self._steps = steps

    def __getitem__(self, name: str) -> Step:
        found = self._steps.get(name)
        if found is None:
            known = ", ".join(self._steps) or "none"
            near = get_close_matches(name, self._steps, 1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UnknownStepError(f"the run has no step {name!r}{hint} It has: {known}")
        return found

    def __contains__(self, name: object) -> bool:
        return name in self._steps

    @overload
    def get(self, key: str, /) -> Step | None: ...
    @overload
    def get(self, key: str, /, default: Step | _D) -> Step | _D: ...
    def get(self, key: str, /, default: Any = None) -> Any:
        return self._steps.get(key, default)

    def __iter__(self) -> Iterator[str]:
        return iter(self._steps)

    def __len__(self) -> int:
        return len(self._steps)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name}: {step.status}" for name, step in self._steps.items())
        return f"<Steps {shown}>"


class Link(NamedTuple):
    """How what a test holds reaches its world."""

    node: Node
    read: Read
    logs_of: Callable[[str], list[LogRecord]]
    """By run."""


class RunView:
    """What can be read of a run."""

    def __init__(self, link: Link, run_id: str) -> None:
        self._node, self._read, self._logs_of = link
        self.id = run_id

    def _history(self) -> RunHistory:
        return self._read(self._node.history(self.id))

    @property
    def function(self) -> str:
        """Composite id of its function."""
        return self._node.slug_of(self._history().run)

    @property
    def status(self) -> str:
        """`Scheduled`, `Running`, `Completed`, `Failed`, `Cancelled` or `Skipped`."""
        return self._history().run.status

    @property
    def has_ended(self) -> bool:
        return RunStatus(self.status).has_ended

    @property
    def output(self) -> Any:
        """What the function returned; None unless it has."""
        return _parsed(output_of_run(self._history().run).data)

    @property
    def error(self) -> RunError | None:
        """Why it failed; None unless it has."""
        return _error(output_of_run(self._history().run).error)

    @property
    def steps(self) -> Steps:
        history = self._history()
        past = past_of(self.id, history.journal)
        spans = {
            span.step_id: span for span in walk(self._trace(history)) if span.kind is not SpanKind.ATTEMPT
        }
        journal = {entry.n: entry for entry in history.journal}
        found = {
            step.label: _step(step, spans[step.step_id], journal)
            for step in past.steps.values()
            if step.step_id in spans
        }
        # A step that never came so far as to be recorded, as one whose first try is under way, has no entry.
        return Steps(found)

    @property
    def event(self) -> dict[str, Any]:
        """The event that started it; of a batch the first."""
        return self.events[0]

    @property
    def events(self) -> list[dict[str, Any]]:
        return self._read(self._node.events_of(self._history().run))

    @property
    def started_at(self) -> datetime | None:
        return _moment(self._history().run.started_at_ms)

    @property
    def ended_at(self) -> datetime | None:
        return _moment(self._history().run.ended_at_ms)

    @property
    def logs(self) -> list[LogRecord]:
        """Records of `logging` that the app made while it answered calls of this run."""
        return self._logs_of(self.id)

    @property
    def explanation(self) -> str:
        """Why it is not running, in a sentence."""
        return self._read(self._node.request("GET", f"/api/ui/v1/runs/{self.id}/explain"))["summary"]

    @property
    def history(self) -> dict[str, Any]:
        """What it did, as `inngest history` exports it: a line of JSON in a file of histories."""
        return self._read(self._node.request("GET", f"/api/ui/v1/runs/{self.id}/history"))

    @property
    def timeline(self) -> str:
        """What it did and when, a line for each step, wait and try."""
        return timeline(self._trace(self._history()))

    def _trace(self, history: RunHistory) -> Span:
        now_ms = self._node.engine.now_ms()
        return trace_of(history.run, history.journal, history.items, now_ms=now_ms)

    def __repr__(self) -> str:
        run = self._history().run
        return f"<Run {self.id} of {self._node.slug_of(run)}: {run.status}>"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, RunView) and other.id == self.id

    def __hash__(self) -> int:
        return hash(self.id)


def _step(step: PastStep, span: Span, journal: Mapping[int, JournalRow]) -> Step:
    output = output_of(journal[span.output_n]) if span.output_n else Output()
    is_tried = span.kind in (SpanKind.STEP, SpanKind.AI, SpanKind.GATEWAY)
    return Step(
        step.label,
        step.step_id,
        span.kind.value,
        span.status.value.title(),
        _parsed(output.data),
        _error(output.error),
        sum(one.started_ms is not None for one in span.children or (span,)) if is_tried else 0,
        _parsed(step.input),
    )


def _parsed(raw: bytes | None) -> Any:
    return None if raw is None else json.loads(raw)


def _error(raw: bytes | None) -> RunError | None:
    given: Any = _parsed(raw)
    if given is None:
        return None
    if not isinstance(given, dict):
        return RunError("Error", str(given))
    fields = cast("dict[str, Any]", given)
    return RunError(*(str(fields.get(key) or "") for key in ("name", "message", "stack")))


def _moment(ms: int | None) -> datetime | None:
    return None if ms is None else datetime.fromtimestamp(ms / 1000, UTC)
