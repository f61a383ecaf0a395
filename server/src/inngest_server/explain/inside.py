"""What a run waits for by its own steps: sleeps, events, signals, invoked runs, several of them at once."""

from collections.abc import Sequence

from inngest_server.events.expressions import CompileError
from inngest_server.explain.expressions import put_in
from inngest_server.explain.gate import Action, Fact, Gate, Verdict, moment
from inngest_server.explain.journal import step_name, steps_of_races
from inngest_server.explain.origin import run_link
from inngest_server.explain.snapshot import RunSnapshot, first_wait
from inngest_server.explain.under_way import what
from inngest_server.explain.words import count, listed, shortened
from inngest_server.runs.records import ItemRow, ItemState, WaitKind, WaitRow

KINDS = (WaitKind.SLEEP, WaitKind.EVENT, WaitKind.SIGNAL, WaitKind.INVOKE)
"""Of waits after which a run goes on; one for a `cancelOn` only ends it."""
LISTED_MAX = 20


def gates_inside(shot: RunSnapshot, item: ItemRow | None) -> list[Gate]:
    """Those gates. A run with work that is not finished waits for that, and its waits are siblings."""
    waits = sorted(
        (wait for wait in shot.waits if wait.kind != WaitKind.CANCEL), key=lambda wait: wait.fires_at_ms
    )
    verdict = Verdict.WAIT if item is None else Verdict.PASS
    gates = [_siblings(shot, waits, item)]
    for kind in KINDS:
        wait = first_wait(waits, kind)
        gates.append(_wait_gate(shot, wait, verdict) if wait is not None else _none(kind))
    if item is None and not waits:
        gates.append(_stalled(shot))
    return gates


def _none(kind: WaitKind) -> Gate:
    return Gate(id=kind.value, verdict=Verdict.SKIP, says="no step waits for one")


def _siblings(shot: RunSnapshot, waits: Sequence[WaitRow], item: ItemRow | None) -> Gate:
    others = [one for one in shot.items if one is not item]
    total = len(waits) + len(shot.items)
    if total < 2:
        return Gate(id="siblings", verdict=Verdict.SKIP, says="nothing else is open beside it")
    open_steps = [
        *[f"{what(shot, one)} ({_state(one)})" for one in others[:LISTED_MAX]],
        *[
            f"step {shortened(step_name(shot, wait.step_id), 60)} ({wait.kind})"
            for wait in waits[:LISTED_MAX]
        ],
    ]
    facts = [Fact("open", total), *[Fact("step", text) for text in open_steps[:LISTED_MAX]]]
    if item is not None:
        says = (
            f"beside it {count(total - 1, 'other')} of its steps is open"
            if total == 2
            else (f"beside it {count(total - 1, 'other')} of its steps are open")
        )
        return Gate(id="siblings", verdict=Verdict.PASS, says=says, facts=facts)
    is_race = steps_of_races(shot).issuperset([wait.step_id for wait in waits])
    moments = [wait.fires_at_ms for wait in waits]
    return Gate(
        id="siblings",
        verdict=Verdict.WAIT,
        says=f"waits for {'one' if is_race else 'each'} of {count(len(waits), 'parallel step')}: "
        f"{listed(open_steps, len(waits))}",
        since_ms=min(wait.opened_at_ms for wait in waits),
        eta_ms=min(moments) if is_race else max(moments),
        ends="when the first of them is done" if is_race else "when the last of them is done",
        facts=facts,
    )


def _state(item: ItemRow) -> str:
    return {ItemState.SENT: "under way", ItemState.PARKED: "waits for slots"}.get(
        ItemState(item.state), "queued"
    )


def _wait_gate(shot: RunSnapshot, wait: WaitRow, verdict: Verdict) -> Gate:
    step = shortened(step_name(shot, wait.step_id), 60)
    facts = [Fact("step", step), moment("until", wait.fires_at_ms)]
    link: str | None = None
    actions: list[Action] = []
    match WaitKind(wait.kind):
        case WaitKind.SLEEP:
            says, ends = f"sleeps in step {step}", "when that time comes"
        case WaitKind.EVENT:
            says, facts = _event_wait(shot, wait, step, facts)
            ends = "when such an event comes; at that time the wait is over without one"
        case WaitKind.SIGNAL:
            says = f"waits in step {step} for the signal {shortened(wait.name)}"
            facts.append(Fact("signal", wait.name))
            ends = "when the signal is sent; at that time the wait is over without it"
            actions.append(
                Action("send_signal", f"Send the signal {shortened(wait.name)}", True, "POST", "/v1/signals")
            )
        case _:
            child = shot.children.get(wait.wait_id)
            says = f"waits in step {step} for a run of {shortened(wait.name)}"
            facts.append(Fact("function", wait.name))
            if child is not None:
                says, link = f"{says}, {child}", run_link(child)
                facts.append(Fact("run", child))
            ends = "when that run has ended; at that time the wait is over without it"
    return Gate(
        id=wait.kind,
        verdict=verdict,
        says=says,
        since_ms=wait.opened_at_ms,
        eta_ms=wait.fires_at_ms,
        ends=ends,
        facts=facts,
        link=link,
        actions=actions,
    )


def _event_wait(shot: RunSnapshot, wait: WaitRow, step: str, facts: list[Fact]) -> tuple[str, list[Fact]]:
    says, facts = (
        f"waits in step {step} for an event {shortened(wait.name)}",
        [*facts, Fact("event", wait.name)],
    )
    if not wait.expression:
        return says, facts
    facts.append(Fact("if", wait.expression))
    if shot.event is not None:
        try:
            text, _ = put_in(wait.expression, {"event": shot.event.body})
        except CompileError:
            text = wait.expression
        facts.append(Fact("filled", text))
        return f"{says} where {shortened(text, 160)}", facts
    return says, facts


def _stalled(shot: RunSnapshot) -> Gate:
    """An invariant of the engine is broken: see `runs/decide.py`."""
    return Gate(
        id="work",
        verdict=Verdict.UNKNOWN,
        says="has no work and waits for nothing: that is a fault, which `inngest doctor --repair` mends",
        ends="when it is repaired",
        facts=[Fact("shard", shot.row.shard)],
    )
