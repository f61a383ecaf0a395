"""What holds for the trace of every run, at every moment of its life."""

from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.runs.records import ItemRow, JournalKind
from inngest_server.runs.run import Limits
from inngest_server.traces.span import Phase, Span, SpanKind, SpanStatus, walk
from inngest_server.traces.text import COLUMNS_MAX, timeline
from inngest_server.traces.trace import trace_of
from inngest_server.wire import json
from tests.unit.runs.builders import Life
from tests.unit.runs.test_properties import LIMITS, live_on

UNDER_WAY = {Phase.REQUEST, Phase.LOST}


class Interval(NamedTuple):
    """Between two facts nothing changed: what was under way then."""

    start_ms: int
    end_ms: int
    sent: frozenset[str]
    """Names of the items."""


class Witness:
    """Keeps its own record of when requests were under way, from the live items alone."""

    def __init__(self, life: Life) -> None:
        self.life = life
        self.intervals: list[Interval] = []
        self.late: list[tuple[int, int]] = []
        """Requests that brought results after they had been given up."""
        self._seen = 0
        self._sent = frozenset[str]()

    def pass_to(self, at_ms: int) -> None:
        """The fact that was just decided came at this moment; nothing changed before."""
        start_ms = self.intervals[-1].end_ms if self.intervals else self.life.run.row.created_at_ms
        if at_ms > start_ms:
            self.intervals.append(Interval(start_ms, at_ms, self._sent))

    def look(self) -> None:
        """See what is under way from now on."""
        self._sent = frozenset(_name(item) for item in self.life.sent)
        entries, self._seen = self.life.journal[self._seen :], len(self.life.journal)
        for entry in entries:
            meta = json.parse(entry.meta)
            if entry.kind == JournalKind.MEMO and meta.get("late"):
                dispatch = (meta["item"], meta["gen"])
                sent = [one for one in self.life.dispatches if (_name(one), one.generation) == dispatch]
                self.late.append((sent[0].sent_at_ms, entry.at_ms))

    def was_late(self, interval: Interval) -> bool:
        return any(start < interval.end_ms and interval.start_ms < end for start, end in self.late)


def _name(item: ItemRow) -> str:
    return item.item_id.partition(".")[2]


def read(life: Life, items: Iterable[ItemRow] | None = None) -> Span:
    live = life.run.items.values() if items is None else items
    return trace_of(life.run.row, life.journal, live, now_ms=life.now_ms)


def check_shape(root: Span, now_ms: int) -> None:
    """What the module `span` promises."""
    spans = list(walk(root))
    assert len({span.span_id for span in spans}) == len(spans)
    for span in spans:
        end_ms = now_ms if span.ended_ms is None else span.ended_ms
        assert span.is_open is not span.status.has_ended
        # Segments partition the span's time.
        assert span.end_ms == end_ms
        assert sum(segment.duration_ms for segment in span.segments) == end_ms - span.queued_ms
        edges = [span.queued_ms, *(segment.end_ms for segment in span.segments)]
        assert [segment.start_ms for segment in span.segments] == edges[:-1]
        assert all(segment.duration_ms > 0 for segment in span.segments)
        assert all(one.phase is not other.phase for one, other in pairwise(span.segments))
        # Time goes forward.
        assert span.queued_ms <= span.scheduled_ms
        assert span.started_ms is None or span.queued_ms <= span.started_ms <= end_ms
        assert span.until_ms is None or span.is_open
        # Children lie within their parent.
        for child in span.children:
            assert child.parent_id == span.span_id
            assert span.queued_ms <= child.queued_ms <= child.end_ms <= end_ms
            assert not (child.is_open and span.status.has_ended)
    for span in spans:
        attempts = [child for child in span.children if child.kind is SpanKind.ATTEMPT]
        assert [child.attempt for child in attempts] == list(range(len(attempts)))
        assert len(attempts) != 1
        if attempts:
            assert attempts[0].queued_ms == span.queued_ms
            assert all(one.end_ms == other.queued_ms for one, other in pairwise(attempts))
            # The parts sum to the whole.
            shares = [sum(child.time_in(phase) for child in attempts) for phase in Phase]
            if attempts[-1].end_ms == span.end_ms:
                assert shares == [span.time_in(phase) for phase in Phase]


def check_truth(root: Span, witness: Witness) -> None:
    """Requests are shown while they were under way, and at no other time; so back-off is none."""
    steps = {span.step_id: span for span in root.children if span.step_id}
    for interval in witness.intervals:
        phases = phases_in(root, interval)
        if interval.sent:
            assert phases <= UNDER_WAY, interval
        elif not witness.was_late(interval):
            assert not phases & UNDER_WAY, interval
        for step_id, step in steps.items():
            is_sent = step_id in interval.sent
            if is_sent and step.queued_ms <= interval.start_ms and interval.end_ms <= step.end_ms:
                assert phases_in(step, interval) <= UNDER_WAY, (step_id, interval)


def phases_in(span: Span, interval: Interval) -> set[Phase]:
    return {
        segment.phase
        for segment in span.segments
        if segment.start_ms < interval.end_ms and interval.start_ms < segment.end_ms
    }


def check_steps(root: Span, life: Life) -> None:
    """Each step that the run knows is a span, and stands as it does."""
    steps = {span.step_id: span for span in root.children if span.step_id}
    content = life.content
    assert steps.keys() >= content.memos.keys() | content.opened.keys()
    for step_id in content.memos:
        assert steps[step_id].status in (SpanStatus.COMPLETED, SpanStatus.FAILED)
        assert life.journal[(steps[step_id].output_n or 0) - 1].payload == content.memos[step_id]
    if life.has_ended:
        assert (root.status.lower(), root.ended_ms) == (life.status.lower(), life.run.row.ended_at_ms)
        return
    targeted = {item.step_id: item for item in life.run.items.values() if item.step_id}
    for step_id in content.opened:
        item, span = targeted.get(step_id), steps[step_id]
        assert span.is_open or item is None
        if item is not None:
            if item in life.sent:
                assert span.status is SpanStatus.RUNNING
            elif span.status is not SpanStatus.RUNNING:  # A discovery may be at the same step.
                assert span.status is SpanStatus.QUEUED
                assert span.until_ms is None or life.now_ms < span.until_ms <= item.due_at_ms
                assert span.until_ms is not None or item.due_at_ms <= life.now_ms
    for item in life.sent:
        shown = [span for span in root.children if span.status is SpanStatus.RUNNING]
        assert shown or item.step_id in content.memos, "a request under way shows at once"


@given(data=st.data(), max_attempts=st.integers(1, 3), limits=st.sampled_from([Limits(), LIMITS]))
@settings(max_examples=200, deadline=None)
def test_every_moment_of_every_life_has_a_true_trace(
    data: st.DataObject, max_attempts: int, limits: Limits
) -> None:
    life = Life(max_attempts=max_attempts, limits=limits)
    witness = Witness(life)
    witness.look()
    ids: dict[str, str] = {}

    for _ in range(data.draw(st.integers(1, 20), "facts")):
        life.pass_time(data.draw(st.sampled_from([0, 0, 7, 900]), "time"))
        stale = list(life.run.items.values())
        live_on(life, data)
        witness.pass_to(life.now_ms)
        witness.look()

        root = read(life)
        check_shape(root, life.now_ms)
        check_truth(root, witness)
        check_steps(root, life)
        for span in root.children:
            assert ids.setdefault(span.step_id or span.span_id, span.span_id) == span.span_id
        # Items that were read before the journal was, or not at all, do no harm.
        check_shape(read(life, stale), life.now_ms)
        check_shape(read(life, []), life.now_ms)
        assert all(len(line) <= COLUMNS_MAX for line in timeline(root).splitlines())
        if life.has_ended:
            break
