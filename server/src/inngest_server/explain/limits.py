"""The gates at which a request of a run waits for others: pause, singleton, priority, throttle, concurrency.

Whether one is shut is asked of the very rules by which `flow_control/parking.py` keeps the item waiting.
"""

from collections.abc import Sequence

from inngest_server.explain.gate import Action, Fact, Gate, Holder, Verdict, moment
from inngest_server.explain.origin import cancel_action, resume_action, run_link
from inngest_server.explain.snapshot import RunSnapshot, Usage
from inngest_server.explain.words import listed, ordinal, shortened
from inngest_server.flow_control import concurrency, throttle
from inngest_server.flow_control.gcra import NS_PER_MS
from inngest_server.flow_control.keys import KeyValue, key_value
from inngest_server.flow_control.parking import AHEAD_MAX, Place, kind_of
from inngest_server.runs.records import ItemRow, ItemState
from inngest_server.wire.times import format_rfc3339

ACTIONS_MAX = 3
_LEVELS = {"r": "run", "": "step", "e": "env", "a": "account"}
_ORDER = ("r", "a", "e", "")


def gates_of_limits(shot: RunSnapshot, item: ItemRow | None) -> list[Gate]:
    """Those gates, for the item in question; one that is in no line has passed or not reached them."""
    # Without a place it got its slots already, and is about to be sent.
    place = shot.place
    parked = item if item is not None and item.state == ItemState.PARKED and place is not None else None
    return [
        _archived(shot),
        _paused(shot, parked),
        _singleton(shot, parked),
        _scheduled(shot, item),
        _priority(shot, place),
        *_throttles(shot, parked, place),
        *_concurrency(shot, parked, place),
    ]


def _archived(shot: RunSnapshot) -> Gate:
    since_ms, is_unstarted = shot.function.archived_at_ms, shot.row.started_at_ms is None
    gate = Gate(id="archived", verdict=Verdict.PASS, says="its function is registered")
    if since_ms is None:
        return gate
    verdict = Verdict.BLOCK if is_unstarted else Verdict.PASS
    says = (
        "its function was removed from its app, so it is skipped when its turn comes"
        if is_unstarted
        else "its function was removed from its app; it finishes at the last address"
    )
    return Gate(
        id="archived",
        verdict=verdict,
        says=says,
        since_ms=since_ms,
        ends="when the app announces the function again" if is_unstarted else "",
    )


def _paused(shot: RunSnapshot, parked: ItemRow | None) -> Gate:
    pause = shot.function.pause
    if pause is None:
        return Gate(id="paused", verdict=Verdict.PASS, says="its function is not paused")
    facts = [moment("paused_at", pause.paused_at_ms)]
    ends = f"when {shot.function.slug} is resumed"
    if pause.cancel_at_ms is not None:
        facts.append(moment("cancelled_at", pause.cancel_at_ms))
        ends += f", or at {format_rfc3339(pause.cancel_at_ms)}, when its runs are cancelled"
    if parked is None:
        says = "its function is paused, which holds back what comes next, not what the run does now"
        return Gate(
            id="paused",
            verdict=Verdict.PASS,
            says=says,
            facts=facts,
            since_ms=pause.paused_at_ms,
        )
    return Gate(
        id="paused",
        verdict=Verdict.BLOCK,
        says=f"{shot.function.slug} is paused",
        since_ms=pause.paused_at_ms,
        ends=ends,
        facts=facts,
        actions=[resume_action(shot.function)],
    )


def _singleton(shot: RunSnapshot, parked: ItemRow | None) -> Gate:
    option, lock = shot.function.config.singleton, shot.terms.singleton if shot.terms is not None else ""
    if not lock:
        says = "is not configured" if option is None else "its key names no singleton for this event"
        return Gate(id="singleton", verdict=Verdict.SKIP, says=says)
    usage = shot.usages.get(f"s/{lock}")
    others = [one for one in usage.holders if one.run != shot.row.run_id] if usage is not None else []
    if parked is None or usage is None or not concurrency.is_full(usage.limit, usage.held):
        return Gate(id="singleton", verdict=Verdict.PASS, says="holds it", limit=1)
    return Gate(
        id="singleton",
        verdict=Verdict.BLOCK,
        says=f"waits for {_named(others, len(others))} to end, which holds the singleton",
        since_ms=parked.due_at_ms,
        ends="when that run has ended, which was told to",
        limit=1,
        used=usage.held,
        holders=others,
        link=run_link(others[0].run) if others else None,
    )


def _scheduled(shot: RunSnapshot, item: ItemRow | None) -> Gate:
    is_early = item is not None and item.state == ItemState.QUEUED and item.due_at_ms > shot.now_ms
    if item is None or not is_early or item.attempt:
        return Gate(id="scheduled", verdict=Verdict.PASS, says="its time has come")
    return Gate(
        id="scheduled",
        verdict=Verdict.WAIT,
        says="waits for the time of its event, which lies ahead",
        since_ms=item.queued_at_ms,
        eta_ms=item.due_at_ms,
        ends="when that time comes",
        facts=[moment("due_at", item.due_at_ms)],
    )


def _priority(shot: RunSnapshot, place: Place | None) -> Gate:
    facts = [Fact("priority", shot.row.priority_ms // 1000, "s"), *_place_facts(place)]
    if place is None and shot.function.config.priority_key is None:
        return Gate(id="priority", verdict=Verdict.SKIP, says="is in no line")
    return Gate(
        id="priority",
        verdict=Verdict.PASS,
        says="is in no line" if place is None else f"is {place_text(place)}",
        facts=facts,
        position=_position(place),
    )


def _throttles(shot: RunSnapshot, parked: ItemRow | None, place: Place | None) -> list[Gate]:
    buckets = [bucket for bucket in shot.buckets if kind_of(bucket) == "t"]
    if shot.row.started_at_ms is not None and shot.function.throttles:
        return [Gate(id="throttle", verdict=Verdict.PASS, says="let it start")]
    gates = [
        _throttle(shot, bucket, parked, place, _numbered("throttle", n)) for n, bucket in enumerate(buckets)
    ]
    return gates or [Gate(id="throttle", verdict=Verdict.SKIP, says="is not configured")]


def _throttle(
    shot: RunSnapshot, bucket: str, parked: ItemRow | None, place: Place | None, gate_id: str
) -> Gate:
    usage, now_ms = shot.usages[bucket], shot.now_ms
    key, rate = _key_of_throttle(shot, bucket), usage.rate
    if rate is None:
        return Gate(id=gate_id, verdict=Verdict.PASS, says="limits it no more")
    opens_at_ms = throttle.opens_at_ms(rate, usage.tat_ns, now_ms, usage.unsent)
    every_ms = rate.emission_ns // NS_PER_MS
    facts = [Fact("every", every_ms, "ms"), Fact("burst", rate.tolerance_ns // max(rate.emission_ns, 1))]
    text = key.text if key is not None and key.hash else None
    if parked is None or opens_at_ms <= now_ms:
        return Gate(
            id=gate_id,
            verdict=Verdict.PASS,
            says="allows a start now",
            facts=facts,
            key=text,
        )
    ahead = place.ahead if place is not None and place.watched == bucket else 0
    line = f"; {place_text(place)}" if place is not None else ""
    return Gate(
        id=gate_id,
        verdict=Verdict.WAIT,
        says=f"waits for its throttle{_of_key(text)}, a start every {every_ms / 1000:g} s{line}",
        since_ms=parked.due_at_ms,
        eta_ms=opens_at_ms + ahead * every_ms,
        ends="when its turn comes",
        facts=[*facts, moment("next_start_at", opens_at_ms), *_place_facts(place)],
        key=text,
        position=_position(place),
    )


def _concurrency(shot: RunSnapshot, parked: ItemRow | None, place: Place | None) -> list[Gate]:
    gates: list[Gate] = []
    for kind in _ORDER:
        for n, bucket in enumerate([one for one in shot.buckets if kind_of(one) == kind]):
            gate_id = _numbered(f"concurrency:{_LEVELS[kind]}", n)
            gates.append(_slot(shot, bucket, parked, place, gate_id))
    return gates or [Gate(id="concurrency", verdict=Verdict.SKIP, says="is not limited")]


def _slot(shot: RunSnapshot, bucket: str, parked: ItemRow | None, place: Place | None, gate_id: str) -> Gate:
    usage, kind = shot.usages[bucket], kind_of(bucket)
    key = _key_of_limit(shot, bucket)
    text = key.text if key is not None and key.hash else None
    is_holder = any(one.run == shot.row.run_id for one in usage.holders)
    if parked is None or not concurrency.is_full(usage.limit, usage.held):
        return Gate(
            id=gate_id,
            verdict=Verdict.PASS,
            says="holds a slot" if is_holder else "has room",
            key=text,
            limit=usage.limit,
            used=usage.held,
            holders=usage.holders,
        )
    line = f"; it is {place_text(place)}" if place is not None else ""
    whose = _of_key(text) or f" of {shot.function.slug}"
    return Gate(
        id=gate_id,
        verdict=Verdict.BLOCK,
        says=f"waits for a slot{whose}: {_used(usage)} of {usage.limit} are used by "
        f"{_named(usage.holders, usage.held)}{line}",
        since_ms=parked.due_at_ms,
        ends="when a run that holds one ends" if kind == "r" else "when a request that holds one is answered",
        facts=_place_facts(place),
        key=text,
        limit=usage.limit,
        used=usage.held,
        position=_position(place),
        holders=usage.holders,
        actions=_cancel_holders(usage.holders),
    )


# In words.


def place_text(place: Place) -> str:
    """`3rd in line`."""
    if place.ahead > AHEAD_MAX:
        return f"in line behind more than {AHEAD_MAX:,} others"
    return "next in line" if place.ahead == 0 else f"{ordinal(place.ahead + 1)} in line"


def _position(place: Place | None) -> int | None:
    return place.ahead + 1 if place is not None else None


def _place_facts(place: Place | None) -> list[Fact]:
    if place is None:
        return []
    ahead: Fact = (
        Fact("ahead", f"more than {AHEAD_MAX:,}") if place.ahead > AHEAD_MAX else Fact("ahead", place.ahead)
    )
    return [ahead, *([Fact("other_lines", place.rivals)] if place.rivals else [])]


def _used(usage: Usage) -> str:
    return f"{usage.held:,}"


def _named(holders: Sequence[Holder], total: int) -> str:
    runs = list(dict.fromkeys(one.run for one in holders))
    if not runs:
        return "others"
    # Several requests of one run count once in the names, and so in the number of those that are not named.
    return ("run " if total == 1 else "runs ") + listed(runs, total - (len(holders) - len(runs)))


def _of_key(text: str | None) -> str:
    return f" of key `{shortened(text, 60)}`" if text else ""


def _numbered(gate_id: str, n: int) -> str:
    return gate_id if n == 0 else f"{gate_id}:{n + 1}"


def _cancel_holders(holders: Sequence[Holder]) -> list[Action]:
    return [cancel_action(run_id) for run_id in list(dict.fromkeys(one.run for one in holders))[:ACTIONS_MAX]]


def _key_of_limit(shot: RunSnapshot, bucket: str) -> KeyValue | None:
    if shot.event is None:
        return None
    for limit in shot.function.limits:
        if limit.bucket(shot.event.body, shot.now_ms) == bucket:
            return key_value(limit.key, shot.event.body, shot.now_ms)
    return None


def _key_of_throttle(shot: RunSnapshot, bucket: str) -> KeyValue | None:
    if shot.event is None:
        return None
    for one in shot.function.throttles:
        if one.bucket(shot.event.body, shot.now_ms) == bucket:
            return key_value(one.key, shot.event.body, shot.now_ms)
    return None
