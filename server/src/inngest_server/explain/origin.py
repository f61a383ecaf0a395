"""What a run passed before it was made: its cause, and the rules of its function about starts.

That the run exists says that they let it pass; its journal says so where one of them did not. The order is
that of the engine, `engine/starts.py`.
"""

from collections.abc import Sequence
from typing import Any

from inngest_server.apps.fields import is_object
from inngest_server.events.match import trigger_names
from inngest_server.explain.expressions import filled
from inngest_server.explain.gate import Action, Fact, Gate, Verdict, moment
from inngest_server.explain.snapshot import FunctionView, RunSnapshot
from inngest_server.flow_control import idempotency
from inngest_server.wire import json


def gates_before(shot: RunSnapshot) -> list[Gate]:
    """Those that lie behind every run."""
    return [_stored(shot), _matched(shot), *_start_rules(shot)]


def cause_of(shot: RunSnapshot) -> str:
    """Why there is a run at all: `event`, `cron`, `invoke` or `again`."""
    row = shot.row
    if row.original_run_id is not None:
        return "again"
    return "invoke" if row.parent is not None else "cron" if row.cron is not None else "event"


def _stored(shot: RunSnapshot) -> Gate:
    event, row = shot.event, shot.row
    facts = [Fact("event", row.event_id), Fact("name", row.event_name)]
    if event is not None:
        facts.append(moment("received_at", event.received_at_ms))
    if row.batch_id is not None:
        facts.append(Fact("events", shot.batch_size))
    return Gate(
        id="stored",
        verdict=Verdict.PASS,
        says="its event is stored",
        since_ms=event.received_at_ms if event is not None else row.created_at_ms,
        facts=facts,
        link=f"/api/ui/v1/events/{row.event_id}/explain",
    )


def _matched(shot: RunSnapshot) -> Gate:
    row = shot.row
    facts: list[Fact] = []
    link = None
    match cause_of(shot):
        case "again":
            says, link = f"it repeats run {row.original_run_id}", run_link(row.original_run_id or "")
        case "invoke":
            parent = (row.parent or "").partition(".")[0]
            says, link = f"a step of run {parent} invoked it", run_link(parent)
        case "cron":
            says = f"the schedule {row.cron} came up"
        case _:
            says, facts = _trigger(shot)
    return Gate(
        id="matched",
        verdict=Verdict.PASS,
        says=says,
        since_ms=row.created_at_ms,
        facts=facts,
        link=link,
    )


def _trigger(shot: RunSnapshot) -> tuple[str, list[Fact]]:
    event, names = shot.event, set(trigger_names(shot.row.event_name))
    for trigger in shot.function.config.event_triggers:
        if trigger.event not in names:
            continue
        facts = [Fact("trigger", trigger.event)]
        if trigger.expression is None:
            return f"{trigger.event} starts it", facts
        facts.append(Fact("if", trigger.expression))
        if event is not None:
            found = filled(trigger.expression, event.body, event.received_at_ms)
            facts.append(Fact("filled", found.text))
            if found.is_true:
                return f"{trigger.event} starts it where {found.text}", facts
    return "its event started it, by a trigger that it had then", []


def _start_rules(shot: RunSnapshot) -> list[Gate]:
    function, cause = shot.function, cause_of(shot)
    config = function.config
    is_late = idempotency.counts_runs(config)
    rate = _rate_gate(function, cause)
    return [
        _rule("batch", config.batch, cause in ("event", "cron"), _batch_facts(shot)),
        *(() if is_late else (rate,)),
        _rule("debounce", config.debounce, cause != "again", _debounce_facts(function)),
        *((rate,) if is_late else ()),
    ]


def _rate_gate(function: FunctionView, cause: str) -> Gate:
    config = function.config
    limit = config.effective_rate_limit
    facts = [Fact("limit", limit.limit), Fact("period", limit.period_ms, "ms")] if limit is not None else []
    return _rule("idempotency" if config.idempotency else "rate_limit", limit, cause != "again", facts)


def _rule(gate_id: str, option: object, concerns: bool, facts: Sequence[Fact]) -> Gate:
    if option is None:
        return Gate(id=gate_id, verdict=Verdict.SKIP, says="is not configured")
    if not concerns:
        return Gate(
            id=gate_id,
            verdict=Verdict.SKIP,
            says="does not concern runs of this cause",
            facts=facts,
        )
    return Gate(id=gate_id, verdict=Verdict.PASS, says="let it pass", facts=facts)


def _batch_facts(shot: RunSnapshot) -> list[Fact]:
    limit = shot.function.config.batch
    if limit is None:
        return []
    return [
        Fact("events", shot.batch_size or 1),
        Fact("size", limit.max_size),
        Fact("timeout", limit.timeout_ms, "ms"),
    ]


def _debounce_facts(function: FunctionView) -> list[Fact]:
    limit = function.config.debounce
    return [Fact("period", limit.period_ms, "ms")] if limit is not None else []


# What the gates of a run under way have in common.


def run_link(run_id: str) -> str:
    """Where a run is explained."""
    return f"/api/ui/v1/runs/{run_id}/explain"


def cancel_action(run_id: str) -> Action:
    return Action("cancel_run", f"Cancel run {run_id}", True, "DELETE", f"/v1/runs/{run_id}")


def resume_action(function: FunctionView) -> Action:
    path = f"/api/ui/v1/functions/{function.slug}/resume"
    return Action("resume_function", f"Resume {function.slug}", False, "POST", path)


def error_text(body: bytes | None) -> str:
    """The name and the message of an error object, on one line."""
    if not body:
        return ""
    error: Any = json.parse_kept(body)
    if is_object(error) and is_object(inner := error.get("error")):
        error = inner
    if not is_object(error):
        return ""
    name, message = error.get("name"), error.get("message")
    return ": ".join([part for part in (name, message) if isinstance(part, str) and part])
