"""Why is it not running? The gates of one run, and the single one that holds it back."""

from inngest_server.explain.ended import gates_of_ended, summary_of_ended
from inngest_server.explain.gate import Action, Explanation, Fact, Gate, Verdict, first_shut
from inngest_server.explain.inside import gates_inside
from inngest_server.explain.limits import gates_of_limits
from inngest_server.explain.origin import cancel_action, gates_before
from inngest_server.explain.snapshot import RunSnapshot, in_question
from inngest_server.explain.under_way import gates_under_way
from inngest_server.explain.words import duration
from inngest_server.runs.records import ItemRow, ItemState, RunStatus, WaitKind


def explain_run(shot: RunSnapshot) -> Explanation:
    """The gates that a run passes, in the order in which the engine asks them.

    Of parallel work that which is furthest is explained: a request under way, then what waits for slots, then
    what waits for its moment, then what the run waits for by its steps.
    """
    run_id = shot.row.run_id
    if not shot.is_live:
        gates = gates_of_ended(shot)
        summary = f"Run {run_id} {summary_of_ended(shot, first_shut(gates))}."
        state = RunStatus(shot.row.status).value.lower()
        return Explanation(run=run_id, at_ms=shot.now_ms, state=state, summary=summary, gates=gates)
    item = in_question(shot.items)
    limits = gates_of_limits(shot, item)
    is_held_back = first_shut(limits) is not None
    gates = [
        *([_set_aside(shot)] if shot.set_aside is not None else []),
        *gates_before(shot),
        *limits,
        *gates_under_way(shot, item, is_held_back=is_held_back),
        *gates_inside(shot, item),
    ]
    blocking = first_shut(gates)
    assert blocking is not None, f"{run_id}: unfinished, and nothing holds it back"
    return Explanation(
        run=run_id,
        at_ms=shot.now_ms,
        state=_state(shot, item, blocking),
        summary=f"Run {run_id} {_sentence(shot, blocking)}.",
        gates=gates,
        actions=[*blocking.actions, cancel_action(run_id)._replace(label="Cancel this run")],
    )


def _sentence(shot: RunSnapshot, gate: Gate) -> str:
    """What holds the run back, and until when."""
    says = gate.says
    if gate.id in ("paused", "archived"):
        says = f"waits: {says}"
    if gate.eta_ms is None:
        return f"{says}; no ETA: it ends {gate.ends}" if gate.ends else says
    left_ms = gate.eta_ms - shot.now_ms
    if left_ms <= 0:
        return says
    at_most = "at most " if gate.id in (WaitKind.EVENT, WaitKind.SIGNAL, WaitKind.INVOKE, "siblings") else ""
    return f"{says}, for {at_most}{duration(left_ms)} from now"


def _state(shot: RunSnapshot, item: ItemRow | None, blocking: Gate) -> str:
    """In a word: the statuses that people see of a run, and what it waits for."""
    if blocking.id == "set_aside":
        return "held"
    if item is not None and item.state == ItemState.SENT:
        return "running"
    if blocking.id == "paused":
        return "paused"
    if shot.row.started_at_ms is None:
        return "queued"
    if blocking.id in ("backoff", "app"):
        return "retrying"
    return "sleeping" if blocking.id == "sleep" else "waiting"


def _set_aside(shot: RunSnapshot) -> Gate:
    held = shot.set_aside
    assert held is not None
    return Gate(
        id="set_aside",
        verdict=Verdict.BLOCK,
        says=f"is held, because deciding about it failed: {held.reason}",
        since_ms=held.since_ms,
        ends="when it is released or cancelled, or the server starts again",
        facts=[Fact("reason", held.reason)],
        actions=[Action("release_run", "Try it again", False, "POST", f"/v1/held/{shot.row.run_id}/release")],
    )
