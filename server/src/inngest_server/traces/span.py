"""Spans: what a trace consists of.

A trace is a tree. Its root is the run; below it are its steps, waits and requests that ended in no step, in
the order in which they were queued; below a span of several tries are those. Moments are epoch milliseconds.

What holds for every span, at every moment of the run's life:

* `segments` partition the time from `queued_ms` to its end, or to now while it is open: no gap, no overlap;
* children lie within their parent, and the tries of a span follow each other without a gap;
* `ended_ms` is None exactly while the span is open, and nothing of an ended run is open;
* `span_id` is the same at every read.
"""

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple


class SpanKind(StrEnum):
    RUN = "run"
    STEP = "step"
    SLEEP = "sleep"
    WAIT_FOR_EVENT = "wait_for_event"
    WAIT_FOR_SIGNAL = "wait_for_signal"
    INVOKE = "invoke"
    AI = "ai"
    """A request to a model's provider that the server makes."""
    GATEWAY = "gateway"
    """Another request that the server makes for a step."""
    BODY = "body"
    """The function's own code: a request that ended the run, failed outside of steps, or is under way and has
    not told yet what it found."""
    ATTEMPT = "attempt"
    """One of several tries of its parent."""


class SpanStatus(StrEnum):
    QUEUED = "QUEUED"
    """No request of it is under way: it is planned, waits for a slot, or for its next try."""
    RUNNING = "RUNNING"
    WAITING = "WAITING"
    """It sleeps, or waits for an event, a signal or an invoked run."""
    COMPLETED = "COMPLETED"
    """A wait that timed out is completed too."""
    FAILED = "FAILED"
    CANCELLED = "CANCELLED"
    """It was open when the run ended."""
    SKIPPED = "SKIPPED"

    @property
    def has_ended(self) -> bool:
        return self not in (SpanStatus.QUEUED, SpanStatus.RUNNING, SpanStatus.WAITING)


class Phase(StrEnum):
    """What the time of a segment was spent on. Where several things go on at once, the first one counts."""

    REQUEST = "request"
    """A call of the app is under way."""
    DECIDING = "deciding"
    """The answer is here; the server has yet to take it in."""
    CONNECTING = "connecting"
    """Sent, as far as the run is concerned, but it waits for one of the app's connections."""
    LOST = "lost"
    """Sent, and nobody knows what became of it: the server stopped."""
    SLOTS = "slots"
    """It waits for a slot of a concurrency limit."""
    QUEUED = "queued"
    """Its moment has come and the server has not sent it yet."""
    BACKOFF = "backoff"
    """It waits for the moment of its next try."""
    DELAYED = "delayed"
    """It waits for the moment for which it is scheduled."""
    WAITING = "waiting"
    """A sleep, or a wait for an event, a signal or an invoked run."""
    IDLE = "idle"
    """Nothing of it is under way, or nothing is recorded: journals of old servers know less."""


class Reuse(StrEnum):
    """Where a result comes from that a fork began with."""

    KEPT = "kept"
    """From another run, which executed the step."""
    EDITED = "edited"
    """From who forked that run."""


class Segment(NamedTuple):
    """A stretch of a span that was spent on one thing."""

    phase: Phase
    start_ms: int
    end_ms: int
    """The moment of reading in the last segment of an open span."""

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.start_ms


class SleepInfo(NamedTuple):
    until_ms: int


class EventWaitInfo(NamedTuple):
    event: str
    expression: str
    """As the SDK sent it; empty for any event of the name."""
    timeout_ms: int
    """The moment at which it gives up."""
    matched_event_id: str | None
    """Internal id of the event that ended it."""
    timed_out: bool | None
    """None while it waits."""


class SignalWaitInfo(NamedTuple):
    signal: str
    timeout_ms: int
    timed_out: bool | None


class InvokeInfo(NamedTuple):
    function: str
    """Composite slug or function id, as the SDK sent it."""
    correlation_id: str
    """The `parent` of the invoked run's row."""
    event_id: str
    """Internal id of the event that started it. No such event exists if there is no such function."""
    timeout_ms: int
    run_id: str | None
    """Of the invoked run, once it told its end. Before that it has one of the two ids that
    `runs.placement.possible_run_ids` names."""
    timed_out: bool | None


StepInfo = SleepInfo | EventWaitInfo | SignalWaitInfo | InvokeInfo

RUN_ROW = 0
"""In place of an entry's number: what is meant stands in the run's own row."""


class Span(NamedTuple):
    """A part of a run's life. See the module for what holds for all of them."""

    span_id: str
    """16 hex digits, derived from run, kind, step and attempt."""
    parent_id: str | None
    kind: SpanKind
    name: str
    """For people: the step's display name, `Run`, `Function body`, `Attempt 2`."""
    status: SpanStatus
    opcode: str
    """Spelled as the protocol spells it; empty where no opcode tells of it (yet)."""
    step_id: str
    """Hashed id; empty outside of steps. Tries have the one of their step."""
    attempt: int
    """Zero-based number of the try that the span is, or of the last one of its tries."""
    queued_ms: int
    scheduled_ms: int
    """When it was to begin: later than queued for a try after a back-off, or an event of the future."""
    started_ms: int | None
    """When its first request was sent, or its wait began."""
    ended_ms: int | None
    until_ms: int | None
    """The known future of an open span: when the sleep ends, the wait times out, or the next try is due."""
    segments: tuple[Segment, ...]
    children: tuple["Span", ...]
    input_n: int | None
    """Number of the journal entry that has its input; read it with `payloads.input_of`."""
    output_n: int | None
    """Number of the entry that has its result or error, or `RUN_ROW`: see `payloads.output_of`."""
    error_code: str
    """Stable code of what went wrong with a failed try; empty where the last try did not fail."""
    http_status: int | None
    """Of the last answer; None without one, and where none is recorded."""
    info: StepInfo | None
    reuse: Reuse | None = None
    """Of a step that was not executed for this run."""
    reason: str = ""
    """Of a run that was cancelled or skipped: why."""

    @property
    def is_open(self) -> bool:
        return self.ended_ms is None

    @property
    def end_ms(self) -> int:
        """Its end, or the moment of reading while it is open."""
        return self.segments[-1].end_ms if self.segments else self.queued_ms

    @property
    def duration_ms(self) -> int:
        return self.end_ms - self.queued_ms

    def time_in(self, phase: Phase) -> int:
        """Milliseconds spent on one thing."""
        return sum(segment.duration_ms for segment in self.segments if segment.phase == phase)


def walk(span: Span) -> Iterator[Span]:
    """The span and everything below it, parents first."""
    yield span
    for child in span.children:
        yield from walk(child)


def find_span(root: Span, span_id: str) -> Span | None:
    return next((span for span in walk(root) if span.span_id == span_id), None)
