"""The gates of a request itself: its sending and answer, its app, and the back-off after a failure."""

from inngest_server.explain.gate import Fact, Gate, Verdict, moment
from inngest_server.explain.journal import find_failure, step_name
from inngest_server.explain.snapshot import RunSnapshot
from inngest_server.explain.words import duration, shortened
from inngest_server.flow_control import timeouts
from inngest_server.flow_control.timeouts import Timeout
from inngest_server.runs.records import ItemRow, ItemState

TIMEOUT_WORDS = {Timeout.START: "start timeout", Timeout.FINISH: "finish timeout"}


def gates_under_way(shot: RunSnapshot, item: ItemRow | None, *, is_held_back: bool) -> list[Gate]:
    """Those gates, for the item in question; `is_held_back` says that a gate before these is shut."""
    is_due = item is not None and (item.state == ItemState.PARKED or item.due_at_ms <= shot.now_ms)
    return [
        _app(shot, item),
        _backoff(shot, item),
        _request(shot, item, is_ready=is_due and not is_held_back),
        _timeouts(shot),
    ]


def what(shot: RunSnapshot, item: ItemRow) -> str:
    """What an item is for."""
    if not item.step_id:
        return (
            "the request for what comes next" if shot.row.started_at_ms is not None else "its first request"
        )
    return f"step {shortened(step_name(shot, item.step_id), 60)}"


def _app(shot: RunSnapshot, item: ItemRow | None) -> Gate:
    app = shot.function.app
    facts = [Fact("url", app.url)]
    if app.error:
        facts.append(Fact("sync_error", shortened(app.error, 200)))
    if app.calls_waiting:
        facts.append(Fact("calls_waiting", app.calls_waiting))
    is_waiting = item is not None and item.item_id in shot.unreached and item.due_at_ms > shot.now_ms
    if item is None or not is_waiting:
        says = "its app did not sync the last time" if app.error else "its app is registered"
        return Gate(id="app", verdict=Verdict.PASS, says=says, facts=facts)
    failure = find_failure(shot, item)
    why = f" ({shortened(failure.text)})" if failure is not None and failure.text else ""
    return Gate(
        id="app",
        verdict=Verdict.WAIT,
        says=f"waits for its app: {app.url} did not answer{why}; it is tried again",
        since_ms=failure.at_ms if failure is not None else item.queued_at_ms,
        eta_ms=item.due_at_ms,
        ends="when the app answers, or at that try",
        facts=[*facts, Fact("attempt", item.attempt)],
    )


def _backoff(shot: RunSnapshot, item: ItemRow | None) -> Gate:
    if item is None or item.attempt == 0:
        return Gate(id="backoff", verdict=Verdict.PASS, says="no try has failed")
    failure = find_failure(shot, item)
    facts = [Fact("attempt", item.attempt), Fact("attempts", shot.function.config.max_attempts)]
    if failure is not None:
        facts += [Fact("code", failure.code), Fact("error", shortened(failure.text, 200))]
    since_ms = failure.at_ms if failure is not None else item.queued_at_ms
    is_over = item.state != ItemState.QUEUED or item.due_at_ms <= shot.now_ms
    if is_over or item.item_id in shot.unreached:
        return Gate(
            id="backoff",
            verdict=Verdict.PASS,
            says="a try has failed",
            since_ms=since_ms,
            facts=facts,
        )
    why = f" ({shortened(failure.text)})" if failure is not None and failure.text else ""
    return Gate(
        id="backoff",
        verdict=Verdict.WAIT,
        says=f"waits before the next try of {what(shot, item)}: try {item.attempt} of "
        f"{shot.function.config.max_attempts} failed{why}",
        since_ms=since_ms,
        eta_ms=item.due_at_ms,
        ends="when the back-off is over",
        facts=[*facts, moment("next_try_at", item.due_at_ms)],
    )


def _request(shot: RunSnapshot, item: ItemRow | None, *, is_ready: bool) -> Gate:
    if item is not None and item.state == ItemState.SENT:
        where = "the host that it calls" if item.is_gateway else "its app"
        if shot.waits_for_connection:
            return Gate(
                id="request",
                verdict=Verdict.WAIT,
                says=f"waits for a free connection to {where}, to send {what(shot, item)}",
                since_ms=item.sent_at_ms,
                ends="when one of the requests there is answered",
            )
        return Gate(
            id="request",
            verdict=Verdict.WAIT,
            says=f"is executing: {where} has had {what(shot, item)} "
            f"for {duration(shot.now_ms - item.sent_at_ms)}",
            since_ms=item.sent_at_ms,
            ends="when the answer comes",
            facts=[
                moment("sent_at", item.sent_at_ms),
                Fact("attempt", item.attempt),
                Fact("times_sent", item.generation),
            ],
        )
    if is_ready:
        return Gate(
            id="request",
            verdict=Verdict.WAIT,
            says="is about to be sent: nothing holds it back",
            since_ms=item.due_at_ms if item is not None else None,
            eta_ms=shot.now_ms,
            ends="at once",
        )
    return Gate(id="request", verdict=Verdict.SKIP, says="no request is under way")


def _timeouts(shot: RunSnapshot) -> Gate:
    terms, finish_ms = shot.terms, shot.function.config.timeouts.finish_ms
    due = timeouts.deadline(
        start_by_ms=terms.start_by_ms if terms is not None else None,
        started_at_ms=shot.row.started_at_ms,
        finish_ms=finish_ms,
    )
    if due is None:
        return Gate(id="timeouts", verdict=Verdict.SKIP, says="none counts")
    return Gate(
        id="timeouts",
        verdict=Verdict.PASS,
        says=f"its {TIMEOUT_WORDS[due.timeout]} cancels it at that time",
        facts=[Fact("timeout", due.timeout.value), moment("cancelled_at", due.at_ms)],
    )
