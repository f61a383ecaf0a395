"""The auditor's books of limits: who is counted where, and how fast runs may start.

Who is counted is what is *sent* in committed rows, and runs that have started. A limit may be exceeded only
by who was granted its slot while the limits were others: from the moment at which its item was made.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction

from tests.models.leaky_bucket import LeakyBucket

from .options import Limit, Pace, Rules, value_of
from .seen import Run

Wrong = Callable[[str], None]
Name = tuple[str, str, str]
"""Owner (a function, or the scope that it shares), level and key of a limit."""
Bucket = tuple[Name, str]
Limits = dict[Name, int]
SHARED = ("env", "account")


@dataclass
class Levels:
    """A leaky bucket of which the level is known from below and from above; both meet once it was empty."""

    pace: Pace
    lower: LeakyBucket
    upper: LeakyBucket

    @staticmethod
    def unknown(pace: Pace, now_ms: int) -> "Levels":
        """It may be as full as it can be."""
        lower = LeakyBucket(pace.capacity, pace.interval_ms, Fraction(0), now_ms)
        return Levels(pace, lower, replace(lower, level=Fraction(pace.capacity)))

    @staticmethod
    def empty(pace: Pace, now_ms: int) -> "Levels":
        lower = LeakyBucket(pace.capacity, pace.interval_ms, Fraction(0), now_ms)
        return Levels(pace, lower, replace(lower))

    def fill(self, now_ms: int) -> bool:
        """Count one that passed; whether it fitted in."""
        upper, lower = self.upper, self.lower
        upper.level = min(upper.level_at(max(now_ms, upper.seen_ms)) + 1, Fraction(upper.capacity))
        upper.seen_ms = max(now_ms, upper.seen_ms)
        if not lower.has_room(max(now_ms, lower.seen_ms)):
            return False
        lower.fill(max(now_ms, lower.seen_ms))
        return True

    def forget_above(self, now_ms: int) -> None:
        """Something may have been counted that nobody saw."""
        self.upper.level = Fraction(self.upper.capacity)
        self.upper.seen_ms = max(now_ms, self.upper.seen_ms)


@dataclass
class _Configured:
    """Limits of a function, as they followed each other."""

    present: Rules
    history: list[tuple[int, Limits]] = field(default_factory=list[tuple[int, Limits]])
    former: list[Rules] = field(default_factory=list[Rules])
    """Those that count beside the present ones, until its runs are re-keyed."""
    recounted: int = 0
    """When they were last."""


class LimitBook:
    """Slots and throttles; `grant_ms` is how long an item may take from its slots to its request."""

    def __init__(self, wrong: Wrong, seen: Counter[str], damaged: set[str], *, grant_ms: int) -> None:
        self._wrong = wrong
        self._seen = seen
        self._damaged = damaged
        self.grant_ms = grant_ms
        self._functions: dict[str, _Configured] = {}
        self._holders: dict[Bucket, set[str]] = {}
        self._held: dict[str, set[Bucket]] = {}
        self._throttles: dict[tuple[str, str, str], Levels] = {}
        self._unclear = 0
        """When runs were last counted anew: what was sent in that batch may have come before or after."""

    # Configurations.

    def configured(
        self,
        function_id: str,
        rules: Rules,
        between: Iterable[Rules],
        former: list[Rules] | None,
        seq: int,
        now_ms: int,
    ) -> None:
        """A sync was committed; `between` may have held for a moment of the same batch.

        `former` is what was stored with it of limits that count on; None if nothing was.
        """
        between = list(between)
        known = self._functions.get(function_id)
        if known is None:
            known = self._functions[function_id] = _Configured(rules)
        else:
            seconds = _names(function_id, rules).keys() - _names(function_id, known.present).keys()
            counts_elsewhere = bool(seconds) or _meter(rules) not in (None, _meter(known.present))
            if counts_elsewhere and not between and known.present.counted not in (former or ()):
                self._wrong(
                    f"limits of {function_id} are counted elsewhere now, and {known.present} was forgotten"
                )
            if former is not None:
                known.former = [one for one in former if one.limits]
            if known.present.throttle != rules.throttle or between:
                self._forget_throttles(function_id, now_ms)
        known.history += [(seq, self._limits(function_id, one, known.former)) for one in between]
        known.present = rules
        known.history.append((seq, self._limits(function_id, rules, known.former)))

    def _limits(self, function_id: str, rules: Rules, former: Iterable[Rules]) -> Limits:
        limits: Limits = {}
        for one in former:
            for name, limit in _names(function_id, one).items():
                limits[name] = min(limit, limits.get(name, limit))
        return limits | _names(function_id, rules)

    def rekeyed(
        self, function_id: str, runs: Iterable[Run], sent: Mapping[str, Iterable[str]], seq: int
    ) -> None:
        """All runs of the function are counted by the present limits alone; `sent` are items by run."""
        known = self._functions[function_id]
        known.former.clear()
        known.recounted = seq
        known.history.append((seq, self._limits(function_id, known.present, ())))
        self._unclear = seq
        self._seen["limits: runs counted anew"] += 1
        for run in runs:
            steps, starts = self._buckets(run)
            for item_id in sent.get(run.row.run_id, ()):
                self._hold(item_id, steps)
            if run.row.started_at_ms is not None and not run.ended:
                self._hold(run.row.run_id, starts)

    def present(self, function_id: str) -> Limits:
        """Numbers by what they count; none of a function that is not known."""
        known = self._functions.get(function_id)
        return _names(function_id, known.present) if known is not None else {}

    def is_rekeying(self, function_id: str) -> bool:
        return bool(self._functions[function_id].former)

    def _forget_throttles(self, function_id: str, now_ms: int) -> None:
        for key in [key for key in self._throttles if key[0] == function_id]:
            self._throttles[key] = Levels.unknown(self._throttles[key].pace, now_ms)

    # Requests.

    def strictness(self, function_id: str) -> int:
        """By which requests of one batch may have been let through: the strict ones of a shared bucket first.

        Nobody sees their order, and a function with a higher limit may use what is left.
        """
        limits = self._functions[function_id].history[-1][1]
        return min((limit for name, limit in limits.items() if name[0] in SHARED), default=0)

    def _most(self, bucket: Bucket, limits: dict[Name, int]) -> int:
        """How many may be in flight beside a request of a function with these limits.

        It may have got its slot of a shared bucket when fewer were used, and had to be read from the disk
        before it went out, while a function with a higher limit took what that one leaves.
        """
        name = bucket[0]
        if name not in limits:
            return 1 << 30
        if name[0] not in SHARED:
            return limits[name]
        others = [one.get(name, 0) for known in self._functions.values() for _, one in known.history[-2:]]
        return max(limits[name], *others)

    def sent(
        self,
        item_id: str,
        run: Run,
        *,
        is_start: bool,
        born: int,
        seq: int,
        now_ms: int,
        is_new: bool,
    ) -> None:
        """A request goes out. `born` is of its item; `is_new`: its function changed."""
        self.stop(item_id)
        known = self._functions[run.row.function_id]
        # What was sent before its runs were counted anew was counted anew too.
        steps, starts = self._buckets(run, seq if is_new and known.recounted != seq else None)
        self._hold(item_id, steps)
        if is_start:
            self._hold(run.row.run_id, starts)
            self._throttle(run, now_ms, is_new=is_new)
        if is_new or self._unclear == seq or run.row.run_id in self._damaged:
            return
        untils = [*[since for since, _ in known.history][1:], seq + 1]
        choices = [limits for (_, limits), until in zip(known.history, untils, strict=True) if until >= born]
        counted = {*steps, *(starts if is_start else ())}
        for limits in choices:
            over = [one for one in counted if self._count(one) > self._most(one, limits)]
            if not over:
                break
        else:
            self._wrong(
                f"{len(self._holders[over[0]])} are in flight in {over[0]} with {item_id}; the limits are "
                f"{[limits.get(over[0][0]) for limits in choices]}"
            )
        present = known.history[-1][1]
        for name, value in counted:
            if self._count((name, value)) == present.get(name):
                self._seen[f"limits: {'shared ' if name[0] in SHARED else ''}{name[1]} limit reached"] += 1

    def _throttle(self, run: Run, now_ms: int, *, is_new: bool) -> None:
        function_id = run.row.function_id
        pace = self._functions[function_id].present.throttle
        if pace is None:
            return
        key = function_id, pace.key, value_of(pace.key, run.k)
        levels = self._throttles.get(key)
        if levels is None or levels.pace != pace:
            levels = self._throttles[key] = (
                Levels.unknown(pace, now_ms) if levels is not None or is_new else Levels.empty(pace, now_ms)
            )
        if is_new:  # It may have gone out before the sync of this batch, or after it.
            levels.forget_above(now_ms)
        elif not levels.fill(now_ms):
            self._wrong(f"run {run.row.run_id} started at {now_ms}, before the throttle of {key} allowed it")
        if not levels.upper.has_room(now_ms):
            self._seen["limits: throttle used up"] += 1

    def started_and_ended(self, run: Run, now_ms: int) -> None:
        """Both in one batch, so that no request went out; a throttle is used up all the same."""
        pace = self._functions[run.row.function_id].present.throttle
        if pace is not None:
            key = run.row.function_id, pace.key, value_of(pace.key, run.k)
            levels = self._throttles.setdefault(key, Levels.unknown(pace, now_ms))
            levels.forget_above(now_ms)

    def stop(self, holder: str) -> None:
        """An item is not in flight any more, or a run has ended."""
        for bucket in self._held.pop(holder, ()):
            self._holders[bucket].discard(holder)

    def shut(self, run: Run, *, is_start: bool, now_ms: int) -> str | None:
        """What keeps a request of the run from being sent now; None if nothing that is counted here does."""
        known = self._functions[run.row.function_id]
        steps, starts = self._buckets(run)
        limits = known.history[-1][1]
        for bucket in {*steps, *(starts if is_start else ())}:
            # A damaged run keeps its slots until that is found out.
            if len(self._holders.get(bucket, ())) >= limits[bucket[0]]:
                return str(bucket)
        pace = known.present.throttle
        if is_start and pace is not None:
            levels = self._throttles.get((run.row.function_id, pace.key, value_of(pace.key, run.k)))
            if levels is not None and levels.upper.room_from_ms(levels.upper.seen_ms) >= now_ms:
                return f"throttle {pace}"
        return None

    def queue_of(self, run: Run, *, is_start: bool) -> tuple[object, ...]:
        """Names the line in which a request of the run waits: those with the same set are in one."""
        steps, starts = self._buckets(run)
        rules = self._functions[run.row.function_id].present
        more: tuple[object, ...] = ()
        if is_start:
            throttle, singleton = rules.throttle, rules.singleton
            more = (
                *sorted(starts),
                value_of(throttle.key, run.k) if throttle else None,
                value_of(singleton[1], run.k) if singleton else None,
            )
        return (run.row.function_id, is_start, *sorted(steps), *more)

    def _buckets(self, run: Run, synced: int | None = None) -> tuple[list[Bucket], list[Bucket]]:
        """Where a request of the run is counted, and where the run is.

        What was sent in the batch `synced`, in which the limits changed, may have gone out before that. Until
        its run is counted anew it is surely counted only where all limits of that batch, and those before it,
        have it.
        """
        history = self._functions[run.row.function_id].history
        limits = dict(history[-1][1])
        if synced is not None:
            before = [one for since, one in history if since < synced][-1:]
            for other in (*before, *[one for since, one in history if since == synced]):
                limits = {name: limit for name, limit in limits.items() if name in other}
        found = [(name, value_of(name[2], run.k)) for name in limits]
        return [one for one in found if one[0][1] == "step"], [one for one in found if one[0][1] == "run"]

    def _count(self, bucket: Bucket) -> int:
        """Slots in use. A run that is held, because it was damaged, keeps nobody else from going on."""
        holders = self._holders.get(bucket, ())
        return sum(one.partition(".")[0] not in self._damaged for one in holders)

    def _hold(self, holder: str, buckets: Iterable[Bucket]) -> None:
        """Count a holder in these buckets in place of those that it is in."""
        self.stop(holder)
        for bucket in buckets:
            self._holders.setdefault(bucket, set()).add(holder)
            self._held.setdefault(holder, set()).add(bucket)


def _names(function_id: str, rules: Rules) -> Limits:
    limits: Limits = {}
    for one in rules.limits:
        name = _name(function_id, one)
        limits[name] = min(one.limit, limits.get(name, one.limit))
    return limits


def _name(function_id: str, limit: Limit) -> Name:
    owner = function_id if limit.scope == "fn" else limit.scope
    return owner, "run" if limit.is_of_runs else "step", limit.key


def _meter(rules: Rules) -> str | None:
    return rules.throttle.key if rules.throttle is not None else None
