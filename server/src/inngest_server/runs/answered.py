"""What an answer of the app does to a run. Source: protocol 4."""

from inngest_server.runs import finish
from inngest_server.runs.decision import CheckpointRefused, Decision, trace_of_item
from inngest_server.runs.errors import MalformedOpError, RunFailure, error_object
from inngest_server.runs.facts import (
    Answered,
    CallFailed,
    Checkpointed,
    Fetched,
    Op,
    Reported,
    Returned,
    StallFound,
)
from inngest_server.runs.opcodes.gateway import gateway_error
from inngest_server.runs.opcodes.registry import CHECKPOINT_OPS, HANDLERS, RESULTS, STEP_ERROR
from inngest_server.runs.opcodes.step_failed import step_error
from inngest_server.runs.records import ItemRow, ItemState, JournalKind, WaitKind
from inngest_server.runs.retry import next_try_ms
from inngest_server.runs.run import Moment, Run
from inngest_server.runs.turn import Turn
from inngest_server.wire import json

OF_ANSWER = ("v", "plan", "pending")
"""What an entry says of a whole answer: it changes what later requests carry."""


def on_answered(run: Run, fact: Answered, moment: Moment) -> Decision:
    """An answer of the current dispatch decides; of an older one only its step results are kept."""
    item = run.items.get(fact.item_id)
    answer = fact.answer
    if item is None or item.generation != fact.generation or item.state != ItemState.SENT:
        decision = Decision(run)
        if isinstance(answer, Reported):
            _keep_late_results(decision, fact, moment, answer.ops)
        elif isinstance(answer, Fetched) and item is not None:
            _keep_late_fetch(decision, fact, moment, item, answer)
        return decision
    decision = Decision(run, item, fact.exchange)
    try:
        match answer:
            case Returned():
                finish.complete(run, decision, moment, answer.output)
            case CallFailed():
                _on_failed(run, decision, moment, item, answer)
            case Reported():
                _on_reported(run, decision, moment, item, answer)
            case Fetched():
                _on_fetched(run, decision, moment, item, answer)
    except RunFailure as failure:
        finish.fail(run, decision, moment, failure.error)
    except MalformedOpError as error:
        # Nothing of an answer that cannot be understood as a whole is recorded.
        decision = Decision(run, item, fact.exchange)
        failure = CallFailed(
            error_object(error.code, str(error)), error.code, retriable=True, retry_after_ms=None
        )
        _on_failed(run, decision, moment, item, failure)
    return decision


def on_checkpointed(run: Run, fact: Checkpointed, moment: Moment) -> Decision:
    """Record step results without calling the app again: its request goes on. Source: protocol 7.5."""
    decision = Decision(run)
    item = run.items.get(fact.item_id)
    if item is None or item.state != ItemState.SENT or fact.generation not in (0, item.generation):
        if item is not None and 0 < fact.generation < item.generation:
            _keep_late_results(decision, fact, moment, fact.ops)
        is_ahead = item is not None and fact.generation > item.generation
        decision.refused = (
            # Another server has sent it since: that it was replaced is more than this one can know.
            CheckpointRefused(503, "this server has been replaced: ask again")
            if is_ahead
            else CheckpointRefused(409, "this dispatch was replaced: another request of the run goes on")
        )
        return decision
    turn = Turn(run, moment, item, decision)
    turn.trace["goes_on"] = True
    try:
        for op in fact.ops:
            if op.code not in CHECKPOINT_OPS:
                raise MalformedOpError(f"opcode {op.code} is not allowed in a checkpoint")
            _check_input(turn, op)
            if op.code != "StepPlanned":  # A mark for people: "about to run".
                HANDLERS[op.code](turn, op)
    except MalformedOpError as error:
        decision = Decision(run)
        decision.refused = CheckpointRefused(400, str(error))
    except RunFailure as failure:
        # The request goes on and will report the same result, which then fails the run with this error.
        decision = Decision(run)
        decision.refused = CheckpointRefused(413, str(failure))
    else:
        if item.attempt or item.losses:
            decision.items.append(item._replace(attempt=0, losses=0))
    return decision


def _keep_late_results(
    decision: Decision, fact: Answered | Checkpointed, moment: Moment, ops: tuple[Op, ...]
) -> None:
    turn = Turn(decision.run, moment, None, decision)
    item_name = fact.item_id.partition(".")[2]
    turn.trace = {"late": True, "gen": fact.generation, "item": item_name}
    try:
        for op in ops:
            if op.code in ("StepRun", "Step", "StepFailed") and not turn.knows(op.step_id):
                HANDLERS[op.code](turn, op)
    except (RunFailure, MalformedOpError):
        # The current dispatch will meet the same result and decide about it.
        return


def _check_input(turn: Turn, op: Op) -> None:
    given = op.opts.get("input")
    if given is not None:
        turn.check_input(op, len(json.dumps(given)))


def _on_fetched(run: Run, decision: Decision, moment: Moment, item: ItemRow, answer: Fetched) -> None:
    memo = b'{"data":' + answer.data + b"}"
    if len(memo) > moment.limits.output_bytes_max:
        reason = f"the response takes {len(memo)} bytes, at most {moment.limits.output_bytes_max} are kept"
        failure = _request_failed(run, item, "output_too_large", reason, retriable=False)
        _on_failed(run, decision, moment, item, failure)
    else:
        _settle(Turn(run, moment, item, decision), item, memo)


def _keep_late_fetch(
    decision: Decision, fact: Answered, moment: Moment, item: ItemRow, answer: Fetched
) -> None:
    """The request was sent again, and the first answer comes nevertheless: it is the result."""
    turn = Turn(decision.run, moment, None, decision)
    memo = b'{"data":' + answer.data + b"}"
    if turn.knows(item.step_id) or len(memo) > moment.limits.output_bytes_max:
        return
    turn.trace = {"late": True, "gen": fact.generation, "item": item.step_id}
    try:
        turn.save(item.step_id, memo, {"op": turn.content.opened.get(item.step_id, "")})
    except RunFailure:
        return  # The current dispatch will meet the same result and decide about it.


def _settle(turn: Turn, item: ItemRow, memo: bytes, *, code: str = "") -> None:
    """The item's step has its memo, this one unless it had one: the item is done, and the run goes on.

    `code` says why the memo is an error.
    """
    run, decision = turn.run, turn.decision
    meta = {"op": turn.content.opened.get(item.step_id, "")}
    if code:
        meta["code"] = code
    try:
        turn.save(item.step_id, memo, meta)
    except RunFailure as failure:
        finish.fail(run, decision, turn.moment, failure.error)
        return
    decision.gone_items.append(item.item_id)
    _discover(turn, turn.content.version)
    if not _has_reason_to_wake(run, decision):
        turn.enqueue("discovery")
    _say_something(turn)


def _request_failed(run: Run, item: ItemRow, code: str, reason: str, *, retriable: bool) -> CallFailed:
    """A gateway item has no usable answer, for a reason that its driver does not know."""
    error = gateway_error(run.loaded.opened.get(item.step_id, "Gateway"), reason)
    return CallFailed(error, code, retriable=retriable, retry_after_ms=None)


def _on_reported(run: Run, decision: Decision, moment: Moment, item: ItemRow, answer: Reported) -> None:
    if len(answer.ops) > moment.limits.ops_per_response_max:
        raise _overflow(moment)
    turn = Turn(run, moment, item, decision)
    content = turn.content
    version = content.version
    if version not in (1, 2):
        version = answer.version or 0
        if version != content.version:
            turn.trace["v"] = version
    open_ops = [op for op in answer.ops if op.code not in RESULTS]
    becomes_parallel = len(open_ops) > 1
    if becomes_parallel:
        turn.trace["plan"] = True
        if version == 2:
            turn.trace["pending"] = _newly_pending(turn, open_ops)
    for op in answer.ops:
        _check_input(turn, op)
        if op.code == STEP_ERROR:
            step_error(turn, op, answer)
        else:
            HANDLERS[op.code](turn, op)
        _say_once(turn)
    if turn.retry is not None and _retry(run, decision, moment, item, turn.retry, turn.failed_op):
        return
    if turn.output is not None:
        finish.complete(run, decision, moment, turn.output)
        return
    if item.kind == "step" and not (turn.knows(item.step_id) or turn.results or turn.wants_discovery):
        # Gone without a result the step would stay planned for ever, whatever else was reported.
        _on_failed(run, decision, moment, item, _no_progress())
        return
    decision.gone_items.append(item.item_id)
    races = frozenset(op.step_id for op in answer.ops if _is_race(op))
    _discover(turn, version, opens_group=becomes_parallel and bool(turn.opened), races=races)
    if not _has_reason_to_wake(run, decision):
        _recheck(turn, item)
    _say_something(turn)


def _say_something(turn: Turn) -> None:
    """Leave no request out of the journal, though it changed nothing but that it is answered."""
    if turn.item is not None and not turn.decision.journal:
        turn.record(JournalKind.TRIED, turn.item.step_id, {"asked": True})


def _newly_pending(turn: Turn, ops: list[Op]) -> list[str]:
    """Steps that must all be done before the next discovery; one of a race asks for it alone."""
    return [
        op.step_id
        for op in ops
        if op.code != "DiscoveryRequest" and not _is_race(op) and not turn.knows(op.step_id)
    ]


def _is_race(op: Op) -> bool:
    return op.opts.get("parallelMode") == "race"


def _say_once(turn: Turn) -> None:
    """What concerns the whole answer stands in the first entry that it led to."""
    if turn.decision.journal:
        for key in (*OF_ANSWER, "due", "slots", "http", "began", "took"):
            turn.trace.pop(key, None)


def _discover(
    turn: Turn, version: int, *, opens_group: bool = False, races: frozenset[str] = frozenset()
) -> None:
    """Enqueue the discovery that the results of a turn call for. Source: protocol 4.6, server side.

    A step outside the pending group has nobody to wait for: it follows a race whose losers still run.
    """
    content = turn.content
    if turn.wants_discovery or (turn.results and version != 2):
        turn.enqueue("discovery")
    elif turn.results and not opens_group:
        pending, results = content.pending, turn.results
        is_group_done = pending.issubset(results)
        is_one_enough = not pending.issuperset(results) or not (content.races | races).isdisjoint(results)
        if is_group_done or is_one_enough:
            _end_plan(turn)
            turn.enqueue("discovery")


def _end_plan(turn: Turn) -> None:
    if turn.content.plan_only:
        for key in OF_ANSWER:
            turn.trace.pop(key, None)
        turn.record(JournalKind.TRIED, "", {"plan": False})


def resume(run: Run, moment: Moment, wait_id: str, memo: bytes, meta: dict[str, object]) -> Decision:
    """A wait ended with a memo: record it, and discover what comes next if nothing else is pending."""
    decision = Decision(run)
    wait = run.waits.get(wait_id)
    if wait is None:
        return decision
    turn = Turn(run, moment, None, decision)
    decision.gone_waits.append(wait_id)
    turn.trace = {"since": wait.opened_at_ms}
    try:
        turn.save(wait.step_id, memo, {"op": turn.content.opened.get(wait.step_id, ""), **meta})
    except RunFailure as failure:
        finish.fail(run, decision, moment, failure.error)
        return decision
    _discover(turn, turn.content.version)
    if not _has_reason_to_wake(run, decision):
        turn.enqueue("discovery")
    return decision


def on_known(run: Run, item: ItemRow, moment: Moment) -> Decision:
    """The result of a targeted item came by an older dispatch: an SDK could not find the step again."""
    decision = Decision(run)
    turn = Turn(run, moment, item, decision)
    if item.state == ItemState.SENT:
        turn.trace["lost"] = True
    _settle(turn, item, turn.content.memos[item.step_id])
    return decision


def on_stalled(run: Run, fact: StallFound, moment: Moment) -> Decision:
    """Ask the app what comes next: that does no harm, and opens again what has neither memo nor work."""
    decision = Decision(run)
    if fact.is_work_lost or not _has_reason_to_wake(run, decision):
        turn = Turn(run, moment, None, decision)
        turn.trace = {"repaired": True}
        turn.enqueue("discovery")
    return decision


def _recheck(turn: Turn, item: ItemRow) -> None:
    """Nothing was reported and nothing is under way: ask once more, then count it as a failed try.

    An app that never reports anything would otherwise be called for ever, as fast as it answers.
    """
    if item.kind != "recheck":
        turn.record(JournalKind.TRIED, "", {"empty": True})
        turn.enqueue("recheck")
        return
    turn.decision.gone_items.remove(item.item_id)
    _on_failed(turn.run, turn.decision, turn.moment, item, _no_progress())


def _no_progress() -> CallFailed:
    message = "the app reported no step, no result and no error that would let the run go on"
    return CallFailed(
        error_object("no_progress", message), "no_progress", retriable=True, retry_after_ms=None
    )


def _has_reason_to_wake(run: Run, decision: Decision) -> bool:
    if decision.items or decision.waits:
        return True
    if run.items.keys() - set(decision.gone_items):
        return True
    # A cancelOn wait only ever ends a run; it is no reason for it to go on.
    return any(w.kind != WaitKind.CANCEL and w.wait_id not in decision.gone_waits for w in run.waits.values())


def _on_failed(run: Run, decision: Decision, moment: Moment, item: ItemRow, failure: CallFailed) -> None:
    if item.is_gateway and next_try_ms(item.attempt, failure, moment) is None:
        # User code can catch it, as the error of any other step.
        memo = b'{"error":' + failure.error + b"}"
        _settle(Turn(run, moment, item, decision), item, memo, code=failure.code)
    elif not _retry(run, decision, moment, item, failure):
        finish.fail(run, decision, moment, failure.error)


def _retry(
    run: Run, decision: Decision, moment: Moment, item: ItemRow, failure: CallFailed, op: Op | None = None
) -> bool:
    """Queue the item again and record why, with the step if one is to blame; False when no tries are left."""
    due_at_ms = next_try_ms(item.attempt, failure, moment)
    meta = {**(decision.trace or trace_of_item(item)), "code": failure.code}
    if due_at_ms is not None:
        meta["next"] = due_at_ms
    step_id = item.step_id
    if op is not None and not step_id:
        step_id, meta["name"] = op.step_id, op.display_name
    decision.record(JournalKind.TRIED, step_id, moment.now_ms, meta, failure.error)
    if due_at_ms is None:
        return False
    decision.items.append(
        item._replace(
            attempt=item.attempt + 1,
            losses=0,
            state=ItemState.QUEUED.value,
            queued_at_ms=moment.now_ms,
            due_at_ms=due_at_ms,
            slots="",
        )
    )
    return True


def on_lost(run: Run, item: ItemRow, moment: Moment, losses_max: int) -> Decision:
    """Send a lost item again at once; so many losses in a row are one failed try."""
    decision = Decision(run)
    if item.losses + 1 >= losses_max:
        message = (
            f"the outcome of {losses_max} requests in a row is unknown: the server stopped while they ran"
        )
        if item.is_gateway:
            failure = _request_failed(run, item, "call_lost", message, retriable=True)
        else:
            failure = CallFailed(
                error_object("call_lost", message), "call_lost", retriable=True, retry_after_ms=None
            )
        _on_failed(run, decision, moment, item, failure)
        return decision
    decision.record(JournalKind.SENT_AGAIN, item.step_id, moment.now_ms, trace_of_item(item))
    decision.items.append(
        item._replace(losses=item.losses + 1, state=ItemState.QUEUED.value, due_at_ms=moment.now_ms)
    )
    return decision


def _overflow(moment: Moment) -> RunFailure:
    return RunFailure(
        "InngestErrFunctionOverflowed",
        f"The function run exceeded the step limit of {moment.limits.steps_max} steps.",
    )
