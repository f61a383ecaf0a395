"""What became of an event: for each function that it concerns, whether it started, and why not.

The order of the gates is that of the engine, `engine/starts.py`. What was decided is read where it is on
record: runs, skipped ones too, windows that are open, and notes of what was dropped, which last for a day.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from inngest_server.apps.config import FunctionConfig
from inngest_server.events.match import trigger_names
from inngest_server.explain.expressions import filled
from inngest_server.explain.gate import Fact, Gate, Verdict, first_shut, moment
from inngest_server.explain.near import near_miss
from inngest_server.explain.origin import resume_action, run_link
from inngest_server.explain.snapshot import EventSnapshot, FunctionView, StartedRun, WindowView
from inngest_server.explain.words import NAMED_MAX, count, duration, listed, shortened
from inngest_server.flow_control import batch, debounce
from inngest_server.flow_control.records import WindowKind
from inngest_server.runs.skip import SkipReason
from inngest_server.wire.times import format_rfc3339

ROWS_MAX = 200
NEAR_MAX = 20
DECIDED_WITHIN_MS = 1_000
"""An event may have come so much earlier than the window that it opened."""
STARTED = "started"


class Near(NamedTuple):
    """A trigger whose name the event nearly has."""

    function: str
    trigger: str
    why: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """What became of the event at one function."""

    function: str
    gates: Sequence[Gate]
    runs: Sequence[StartedRun] = ()

    @property
    def blocking(self) -> Gate | None:
        return first_shut(self.gates)

    @property
    def outcome(self) -> str:
        """`started`, or the id of the gate that it did not pass."""
        gate = self.blocking
        return STARTED if gate is None else gate.id

    @property
    def says(self) -> str:
        gate = self.blocking
        return f"started {self.gates[-1].says}" if gate is None else gate.says

    def to_json(self) -> dict[str, Any]:
        gate = self.blocking
        return {
            "function": self.function,
            "outcome": self.outcome,
            "says": self.says,
            "blocking": gate.id if gate is not None else None,
            "eta": format_rfc3339(gate.eta_ms) if gate is not None and gate.eta_ms is not None else None,
            "ends": gate.ends if gate is not None else "",
            "actions": [action._asdict() for action in gate.actions] if gate is not None else [],
            "runs": [{"run": one.row.run_id, "status": one.row.status} for one in self.runs],
            "gates": [one.to_json() for one in self.gates],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class EventExplanation:
    """What became of an event."""

    snapshot: EventSnapshot
    summary: str
    rows: Sequence[Row]
    near: Sequence[Near]
    others: int
    """Functions with no trigger of that name."""

    def to_json(self) -> dict[str, Any]:
        shot = self.snapshot
        event = shot.event
        return {
            "event": event.internal_id,
            "id": event.event_id,
            "name": event.name,
            "at": format_rfc3339(shot.now_ms),
            "received_at": format_rfc3339(event.received_at_ms),
            "duplicate_of": first_of(shot),
            "summary": self.summary,
            "functions": [row.to_json() for row in self.rows[:ROWS_MAX]],
            "near": [near._asdict() for near in self.near],
            "others": self.others,
        }


def explain_event(shot: EventSnapshot) -> EventExplanation:
    """The match table of an event, those that it started first."""
    rows = [_row(shot, function) for function in shot.functions]
    rows.sort(key=lambda row: (row.outcome != STARTED, row.outcome == "matched", row.function))
    near = [miss for slug, config in shot.others for miss in _near(shot.event.name, slug, config)][:NEAR_MAX]
    return EventExplanation(
        snapshot=shot,
        summary=_summary(shot, rows, near),
        rows=rows,
        near=near,
        others=len(shot.others),
    )


def first_of(shot: EventSnapshot) -> str | None:
    """Internal id of the event that came before with the same id; None if this is the first, or forgotten."""
    return shot.first_id if shot.first_id != shot.event.internal_id else None


def _near(event_name: str, slug: str, config: FunctionConfig) -> list[Near]:
    misses = [(trigger.event, near_miss(event_name, trigger.event)) for trigger in config.event_triggers]
    return [Near(slug, name, why) for name, why in misses if why]


def _summary(shot: EventSnapshot, rows: Sequence[Row], near: Sequence[Near]) -> str:
    about = f"Event {shortened(shot.event.name)}"
    if rows:
        clauses = [f"{row.function} {row.says}" for row in rows]
        shown = clauses[:NAMED_MAX]
        if len(clauses) > len(shown):
            shown.append(f"{count(len(clauses) - len(shown), 'other function')}")
        return f"{about}: {'; '.join(shown)}."
    if near:
        hints = [f"{one.trigger} of {one.function} ({one.why})" for one in near]
        return f"{about} starts no function; similar: {listed(hints)}."
    if not shot.others:
        return f"{about} starts no function: none is registered."
    return f"{about} starts no function: {count(len(shot.others), 'function')} looked for others."


def _row(shot: EventSnapshot, function: FunctionView) -> Row:
    runs = shot.runs.get(function.id, ())
    started = [one for one in runs if not one.skip_reason]
    if started:
        return Row(function=function.slug, gates=_passed(shot, function, started), runs=runs)
    matched = _matched(shot, function)
    gates: list[Gate] = [matched]
    # A skipped run says that it came through everything before.
    if runs:
        gates.append(_skipped(function, runs[-1]))
    elif matched.verdict is Verdict.PASS:
        gates += _on_record(shot, function)
    if first_shut(gates) is None:
        gates.append(_not_known(shot))
    return Row(function=function.slug, gates=gates, runs=runs)


def _passed(shot: EventSnapshot, function: FunctionView, started: Sequence[StartedRun]) -> list[Gate]:
    matched = _matched(shot, function)
    names = [one.row.run_id for one in started]
    run = Gate(
        id="run",
        verdict=Verdict.PASS,
        says=f"run {listed(names)}" if len(names) == 1 else f"runs {listed(names)}",
        since_ms=started[0].row.created_at_ms,
        link=run_link(names[0]),
    )
    if matched.verdict is not Verdict.PASS:
        # Triggers are those of now: it was invoked, repeated, or another trigger started it.
        says = "it was started by what it had then, or was asked for"
        matched = Gate(id="matched", verdict=Verdict.PASS, says=says, facts=matched.facts)
    return [matched, run]


def _matched(shot: EventSnapshot, function: FunctionView) -> Gate:
    """Whether a trigger of now would start the function, with the values in its condition."""
    event, names = shot.event, set(trigger_names(shot.event.name))
    facts: list[Fact] = []
    says = "has no trigger of that name"
    for trigger in function.config.event_triggers:
        if trigger.event not in names:
            continue
        facts.append(Fact("trigger", trigger.event))
        if trigger.expression is None:
            return Gate(
                id="matched",
                verdict=Verdict.PASS,
                says=f"{trigger.event} starts it",
                facts=facts,
            )
        found = filled(trigger.expression, event.body, event.received_at_ms)
        facts += [Fact("if", trigger.expression), Fact("filled", found.text)]
        facts += [Fact(path, value) for path, value in found.values.items()]
        if found.is_true:
            says = f"{trigger.event} starts it where {shortened(found.text, 160)}"
            return Gate(id="matched", verdict=Verdict.PASS, says=says, facts=facts)
        if found.error:
            facts.append(Fact("error", shortened(found.error, 200)))
            says = f"did not start: its condition fails, {shortened(found.error, 160)}"
        else:
            says = f"did not start: its condition {shortened(found.text, 160)} is not true"
    if not facts and (runs := shot.runs.get(function.id)):
        cron = runs[0].row.cron
        says = "was asked for by name" if cron is None else f"the schedule {cron} came up"
        return Gate(id="matched", verdict=Verdict.PASS, says=says)
    return Gate(id="matched", verdict=Verdict.BLOCK, says=says, facts=facts)


def _on_record(shot: EventSnapshot, function: FunctionView) -> list[Gate]:
    """What else may have kept the event from starting the function, in order."""
    note, window = shot.notes.get(function.id), shot.windows.get(function.id)
    config = function.config
    gates = [_registered(shot, function)]
    if config.batch is None and config.debounce is None:
        gates.append(_duplicate(shot))  # Ids are not compared where events are collected.
    if config.batch is not None:
        gates.append(_batch(shot, config, window))
    if note is not None:
        gates.append(_dropped(note))
    elif config.effective_rate_limit is not None:
        gate_id = "idempotency" if config.idempotency else "rate_limit"
        gates.append(Gate(id=gate_id, verdict=Verdict.PASS, says="did not drop it"))
    if config.debounce is not None:
        gates.append(_debounce(shot, window))
    if function.pause is not None and window is not None and window.has_event:
        says = "is paused now: the run will be skipped, unless it is resumed before"
        gates.append(Gate(id="paused", verdict=Verdict.SKIP, says=says, since_ms=function.pause.paused_at_ms))
    return gates


def _registered(shot: EventSnapshot, function: FunctionView) -> Gate:
    received_ms, archived_ms = shot.event.received_at_ms, function.archived_at_ms
    gate_id = "archived"
    if function.created_at_ms > received_ms:
        says = f"was registered {duration(function.created_at_ms - received_ms)} after the event came"
        return Gate(id=gate_id, verdict=Verdict.BLOCK, says=says, since_ms=function.created_at_ms)
    if archived_ms is not None and archived_ms <= received_ms:
        says = f"had been removed from its app since {format_rfc3339(archived_ms)}"
        return Gate(id=gate_id, verdict=Verdict.BLOCK, says=says, since_ms=archived_ms)
    return Gate(id=gate_id, verdict=Verdict.PASS, says="was registered")


def _duplicate(shot: EventSnapshot) -> Gate:
    first = first_of(shot)
    if first is None:
        return Gate(id="duplicate", verdict=Verdict.PASS, says="is the first of its id")
    return Gate(
        id="duplicate",
        verdict=Verdict.BLOCK,
        says=f"did not start: an event with the id {shortened(shot.event.event_id, 60)} came before, {first}",
        facts=[Fact("first", first)],
        link=f"/api/ui/v1/events/{first}/explain",
    )


def _dropped(note: Mapping[str, Any]) -> Gate:
    """What the engine noted when it dropped the start."""
    is_idempotency = note["gate"] == "idempotency"
    key, until_ms = str(note["key"]), int(note["until"])
    of_key = f" for key `{shortened(key, 60)}`" if key else ""
    what = "its idempotency key was seen already" if is_idempotency else "its rate limit was used up"
    return Gate(
        id="idempotency" if is_idempotency else "rate_limit",
        verdict=Verdict.BLOCK,
        says=f"did not start: {what}{of_key}; another one may from {format_rfc3339(until_ms)} on",
        since_ms=int(note["at"]),
        ends="never: it was dropped",
        facts=[moment("next_start_at", until_ms)],
        key=key or None,
    )


def _batch(shot: EventSnapshot, config: FunctionConfig, window: WindowView | None) -> Gate:
    event = shot.event
    assert config.batch is not None
    if window is None or window.kind is not WindowKind.BATCH or not window.has_event:
        says = "is collected" if batch.takes(config.batch, event.body, event.received_at_ms) else "runs alone"
        return Gate(id="batch", verdict=Verdict.PASS, says=says)
    return Gate(
        id="batch",
        verdict=Verdict.WAIT,
        says="makes a run of its batch now"
        if batch.is_due(window, shot.now_ms)
        else f"is collecting a batch: {window.count:,} of {window.max_size:,} events, "
        f"until {format_rfc3339(window.due_at_ms)}",
        since_ms=window.opened_at_ms,
        eta_ms=window.due_at_ms,
        ends="when it is full, or at that time",
        facts=[Fact("events", window.count), Fact("size", window.max_size)],
        key=window.key_value or None,
        limit=window.max_size,
        used=window.count,
    )


def _debounce(shot: EventSnapshot, window: WindowView | None) -> Gate:
    if window is not None and window.has_event:
        says = f"is debounced: it starts at {format_rfc3339(window.due_at_ms)} if no other event comes before"
        if debounce.is_due(window, shot.now_ms):
            says = "makes a run of its debounce now"
        facts = [moment("deadline", window.deadline_ms)] if window.deadline_ms is not None else []
        return Gate(
            id="debounce",
            verdict=Verdict.WAIT,
            says=says,
            since_ms=window.opened_at_ms,
            eta_ms=window.due_at_ms,
            ends="when nothing has come for the period",
            facts=facts,
            key=window.key_value or None,
        )
    if window is not None and window.opened_at_ms <= shot.event.received_at_ms + DECIDED_WITHIN_MS:
        newest = window.newest_event_id
        says = f"did not start: a newer event of its key, {newest}, took its place in the debounce"
        link = f"/api/ui/v1/events/{newest}/explain"
        return Gate(
            id="debounce",
            verdict=Verdict.BLOCK,
            says=says,
            ends="never: the newer event starts the run",
            facts=[Fact("newest", newest), moment("due_at", window.due_at_ms)],
            key=window.key_value or None,
            link=link,
        )
    says = "did not start: a newer event of its key took its place in the debounce, which is over"
    return Gate(id="debounce", verdict=Verdict.BLOCK, says=says, ends="never: it was replaced")


def _skipped(function: FunctionView, run: StartedRun) -> Gate:
    row = run.row
    facts = [Fact("run", row.run_id)]
    match run.skip_reason:
        case SkipReason.SINGLETON:
            gate_id = "singleton"
            says, facts = (
                f"run {run.blocked_by} held the singleton",
                [*facts, Fact("blocked_by", run.blocked_by)],
            )
        case SkipReason.FUNCTION_PAUSED:
            gate_id, says = "paused", "it was paused"
        case _:
            gate_id, says = "archived", "it had been removed from its app"
    return Gate(
        id=gate_id,
        verdict=Verdict.BLOCK,
        says=f"skipped run {row.run_id}: {says}",
        since_ms=row.created_at_ms,
        ends="never: the run is skipped; it can be replayed",
        facts=facts,
        link=run_link(row.run_id),
        actions=[resume_action(function)] if gate_id == "paused" and function.pause is not None else [],
    )


def _not_known(shot: EventSnapshot) -> Gate:
    says = (
        "matches now, and nothing on record says why there is no run: the function had another trigger then, "
        "or what was known has been forgotten"
    )
    return Gate(
        id="run",
        verdict=Verdict.UNKNOWN,
        says=says,
        facts=[moment("at", shot.event.received_at_ms)],
    )
