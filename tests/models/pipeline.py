"""From events to runs to requests: all rules in their order, as one slow and obvious simulation.

The order, for one event and one function (protocol 5.1, issue 4): trigger; batch; a repeated event id; rate
limit or idempotency; debounce; idempotency of a debounced function, which counts runs; paused; singleton;
the run is made; then, for its first request, throttle; for every request, concurrency. Of what happens at
one moment, timers come first, then answers, then events: whoever drives a server beside a `World` must keep
to that.

Among runs that could be sent, the documentation settles the order within one function and key only: the
oldest first. So a `World` either chooses itself (the oldest of all), or follows what a server sent and
objects (`Objection`) to what no order allows: beyond a limit, past an older run of the same keys, or
nothing sent although something could be.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tests.models.batch import Batching
from tests.models.concurrency import Counters, needs_of
from tests.models.debounce import Debounce
from tests.models.event import Event
from tests.models.idempotency import Idempotency
from tests.models.options import DAY_MS
from tests.models.priority import priority_ms
from tests.models.rate_limit import RateLimit
from tests.models.singleton import lock_of
from tests.models.throttle import Throttle
from tests.models.timeouts import finish_by_ms, start_by_ms

PAUSED_RUNS_LIVE_MS = 7 * DAY_MS


class Objection(AssertionError):
    """A server did what the documentation does not allow."""


@dataclass(frozen=True)
class Do:
    """One thing in a run's life: `request` (the app is busy so long) or `sleep`."""

    what: str
    ms: int


@dataclass(frozen=True)
class Dropped:
    """An event that started nothing, and why."""

    function_id: str
    number: int
    why: str


@dataclass
class Run:
    """One run; `status` is empty while it is under way."""

    name: str
    function: "Function"
    events: Sequence[Event]
    created_ms: int
    lock: str | None = None
    status: str = ""
    reason: str = ""
    started_ms: int | None = None
    ended_ms: int | None = None
    sent_ms: list[int] = field(default_factory=list)
    done: int = 0
    waits_since_ms: int | None = None
    waits_since_turn: int = 0
    order_is_open: bool = False
    sleeps_until_ms: int | None = None
    busy_until_ms: int | None = None

    @property
    def data(self) -> Mapping[str, Any]:
        """What expressions see."""
        return self.events[0].data

    @property
    def rank(self) -> tuple[int, int]:
        """The smaller goes first."""
        ahead_ms = priority_ms(self.function.options.get("priority"), self.data)
        return (self.created_ms - ahead_ms, self.events[0].number)

    def start_by_ms(self) -> int | None:
        """When it is cancelled for not having been started."""
        if self.started_ms is not None:
            return None
        return start_by_ms(self.function.options.get("timeouts", {}), self.created_ms, self.events[0].ts_ms)

    def finish_by_ms(self) -> int | None:
        """When it is cancelled for not having ended."""
        if self.started_ms is None:
            return None
        return finish_by_ms(self.function.options.get("timeouts", {}), self.started_ms)


class Function:
    """A function: its options as an SDK sends them, what its runs do, and what its rules remember."""

    def __init__(self, function_id: str, options: Mapping[str, Any], work: Sequence[Do]) -> None:
        assert work
        assert work[0].what == work[-1].what == "request", "a request begins a run, an answer ends it"
        self.id = function_id
        self.options = options
        self.work = work
        self.triggers: Sequence[str] = options.get("triggers", ("test/event",))
        self.paused_ms: int | None = None
        self.seen_ids: dict[str, int] = {}
        self.batching = Batching(options["batchEvents"]) if "batchEvents" in options else None
        self.debounce = Debounce(options["debounce"]) if "debounce" in options else None
        self.throttle = Throttle(options["throttle"]) if "throttle" in options else None
        self.idempotency: Idempotency | None = None
        self.rate_limit: RateLimit | None = None
        if not self.batching:
            if "idempotency" in options:
                self.idempotency = Idempotency(options["idempotency"])
            elif "rateLimit" in options:
                self.rate_limit = RateLimit(options["rateLimit"])

    def is_triggered_by(self, name: str) -> bool:
        """Whether an event of this name starts it; `*` stands for the rest after `/` or `.`."""
        return any(
            name == trigger or (trigger[-2:] in ("/*", ".*") and name.startswith(trigger[:-1]))
            for trigger in self.triggers
        )


class World:
    """Some functions and everything that happens to them.

    A request goes on when its run is cancelled. `counts_cancelled` says whether it keeps its place until the
    app has answered: concurrency limits code that is running, so it does by the letter of the documentation.
    """

    def __init__(self, functions: Sequence[Function], *, counts_cancelled: bool = True) -> None:
        self.counts_cancelled = counts_cancelled
        self.functions = {function.id: function for function in functions}
        self.counters = Counters()
        self.runs: dict[str, Run] = {}
        self.dropped: list[Dropped] = []
        self._turn = 0

    # What happens from outside; `sends` are the runs of which a server sent a request then, in order.

    def receive(self, event: Event, now_ms: int, sends: Sequence[str] | None = None) -> None:
        """An event came."""
        self._turn += 1
        for function in self.functions.values():
            if function.is_triggered_by(event.name):
                self._arrive(function, event, now_ms)
        self._place(now_ms, sends)

    def answer(self, name: str, now_ms: int, sends: Sequence[str] | None = None) -> None:
        """The app answered the request of a run."""
        self._turn += 1
        run = self.runs[name]
        run.busy_until_ms = None
        self.counters.give(f"request of {name}")
        if not run.status:
            run.done += 1
            self._go_on(run, now_ms)
        self._place(now_ms, sends)

    def pass_time(self, now_ms: int, sends: Sequence[str] | None = None) -> None:
        """It is now later: what is due happens."""
        self._turn += 1
        for function in self.functions.values():
            if function.debounce:
                for event in function.debounce.ended(now_ms):
                    self._begin(function, [event], now_ms)
            if function.batching:
                for events in function.batching.ended(now_ms):
                    self._begin(function, events, now_ms)
            if function.paused_ms is not None and function.paused_ms + PAUSED_RUNS_LIVE_MS <= now_ms:
                self._cancel_all(function, now_ms)
        for run in self.under_way():
            if any(
                limit is not None and limit <= now_ms for limit in (run.start_by_ms(), run.finish_by_ms())
            ):
                self._end(run, "Cancelled", "timeout", now_ms)
            elif run.sleeps_until_ms is not None and run.sleeps_until_ms <= now_ms:
                run.done += 1
                self._go_on(run, now_ms)
            elif run.waits_since_ms == now_ms:
                run.waits_since_turn = self._turn  # The moment of its event has come.
        self._place(now_ms, sends)

    def cancel(self, name: str, now_ms: int, sends: Sequence[str] | None = None) -> None:
        """Somebody cancelled a run; what it is executing goes on to its end."""
        self._turn += 1
        self._end(self.runs[name], "Cancelled", "request", now_ms)
        self._place(now_ms, sends)

    def pause(self, function_id: str, now_ms: int, *, cancel: bool = False) -> None:
        """Pause a function; its runs are held, or cancelled."""
        self.functions[function_id].paused_ms = now_ms
        if cancel:
            self._cancel_all(self.functions[function_id], now_ms)

    def resume(self, function_id: str, now_ms: int, sends: Sequence[str] | None = None) -> None:
        """Resume it: held runs go on."""
        self._turn += 1
        self.functions[function_id].paused_ms = None
        self._place(now_ms, sends)

    def configure(
        self, function_id: str, options: Mapping[str, Any], now_ms: int, sends: Sequence[str] | None = None
    ) -> None:
        """A sync changed the limits of concurrency: whoever is under way counts by the new ones from now.

        Nobody says in which order those go on that waited for others before; newer runs may pass them once.
        """
        self._turn += 1
        for run in self.under_way():
            run.order_is_open = run.waits_since_ms is not None
        self.functions[function_id].options = options
        for run in self.runs.values():
            self.counters.give(self._holder(run, whole_run=True))
            self.counters.give(self._holder(run, whole_run=False))
        for run in self.runs.values():
            for need in needs_of(run.function.id, run.function.options.get("concurrency"), run.data):
                is_busy = run.busy_until_ms is not None and (not run.status or self.counts_cancelled)
                if (run.started_ms is not None and not run.status) if need.whole_run else is_busy:
                    self.counters.hold(need, self._holder(run, whole_run=need.whole_run))
        self._place(now_ms, sends)

    # What can be asked.

    def under_way(self) -> list[Run]:
        """The runs that have not ended, oldest first."""
        return [run for run in self.runs.values() if not run.status]

    def runs_of(self, function_id: str) -> list[Run]:
        """A function's runs in the order in which they were made."""
        return [run for run in self.runs.values() if run.function.id == function_id]

    def due_answers(self, now_ms: int) -> list[str]:
        """The runs whose app is done with their request, ended ones too."""
        return [
            name
            for name, run in self.runs.items()
            if run.busy_until_ms is not None and run.busy_until_ms <= now_ms
        ]

    def next_ms(self, now_ms: int) -> int | None:
        """When something happens next by itself, later than now."""
        moments: list[int | None] = []
        for function in self.functions.values():
            moments.append(function.debounce.next_ms() if function.debounce else None)
            moments.append(function.batching.next_ms() if function.batching else None)
            if function.paused_ms is not None:
                moments.append(function.paused_ms + PAUSED_RUNS_LIVE_MS)
        for run in self.runs.values():
            moments.append(run.busy_until_ms)
        for run in self.under_way():
            moments += [run.start_by_ms(), run.finish_by_ms(), run.sleeps_until_ms, run.waits_since_ms]
            if run.waits_since_ms is not None and run.started_ms is None and run.function.throttle:
                moments.append(run.function.throttle.bucket(run.data).room_from_ms(now_ms))
        return min((moment for moment in moments if moment is not None and moment > now_ms), default=None)

    def play(self, arrivals: Sequence[tuple[int, Event]], until_ms: int) -> None:
        """Everything that happens until then when these events come, with this world's own choices."""
        pending = sorted(arrivals, key=lambda arrival: arrival[0])
        now_ms = -1
        while True:
            moments = [self.next_ms(now_ms), pending[0][0] if pending else None]
            now_ms = min((moment for moment in moments if moment is not None), default=until_ms + 1)
            if now_ms > until_ms:
                return
            self.pass_time(now_ms)
            for name in self.due_answers(now_ms):
                self.answer(name, now_ms)
            while pending and pending[0][0] == now_ms:
                self.receive(pending.pop(0)[1], now_ms)

    # The rules in their order.

    def _arrive(self, function: Function, event: Event, now_ms: int) -> None:
        """An event meets a function that it triggers."""
        if function.batching and function.batching.concerns(event):
            full = function.batching.take(event, now_ms)
            if full:
                self._begin(function, full, now_ms)
            return
        if event.id and not function.debounce and function.paused_ms is None:
            if event.id in function.seen_ids and now_ms < function.seen_ids[event.id] + DAY_MS:
                self.dropped.append(Dropped(function.id, event.number, "event id"))
                return
            function.seen_ids[event.id] = now_ms
        if function.rate_limit and not function.rate_limit.admits(event.data, now_ms):
            self.dropped.append(Dropped(function.id, event.number, "rate limit"))
        elif function.debounce:
            function.debounce.take(event, now_ms)
        else:
            self._begin(function, [event], now_ms)

    def _begin(self, function: Function, events: Sequence[Event], now_ms: int) -> None:
        """These events are to become a run now."""
        first = events[0]
        if function.idempotency and not function.idempotency.admits(first.data, now_ms):
            self.dropped.append(Dropped(function.id, first.number, "idempotency"))
            return
        run = Run(f"{function.id}:{first.number}", function, events, now_ms)
        assert run.name not in self.runs, "an event starts a function once"
        self.runs[run.name] = run
        if function.paused_ms is not None:
            self._end(run, "Skipped", "FunctionPaused", now_ms)
            return
        run.lock = lock_of(function.options.get("singleton"), run.data)
        for other in self.under_way():
            if (
                run.lock is not None
                and other is not run
                and (other.function, other.lock) == (function, run.lock)
            ):
                if function.options["singleton"]["mode"] == "skip":
                    self._end(run, "Skipped", "Singleton", now_ms)
                    return
                self._end(other, "Cancelled", "Singleton", now_ms)
        run.waits_since_ms = max(now_ms, (first.ts_ms or 0) if len(events) == 1 else 0)
        run.waits_since_turn = self._turn

    # What a run does.

    def _go_on(self, run: Run, now_ms: int) -> None:
        """What comes after the `done` things of a run."""
        run.waits_since_ms = run.sleeps_until_ms = None
        if run.done == len(run.function.work):
            self._end(run, "Completed", "", now_ms)
        elif run.function.work[run.done].what == "sleep":
            run.sleeps_until_ms = now_ms + run.function.work[run.done].ms
        else:
            run.waits_since_ms, run.waits_since_turn = now_ms, self._turn

    def _end(self, run: Run, status: str, reason: str, now_ms: int) -> None:
        """A run is over; see `counts_cancelled` for what its app still executes."""
        run.status, run.reason, run.ended_ms = status, reason, now_ms
        run.waits_since_ms = run.sleeps_until_ms = None
        self.counters.give(f"run {run.name}")
        if not self.counts_cancelled:
            self.counters.give(f"request of {run.name}")

    def _cancel_all(self, function: Function, now_ms: int) -> None:
        """All of a function's runs that have not ended."""
        for run in self.under_way():
            if run.function is function:
                self._end(run, "Cancelled", "FunctionPaused", now_ms)

    # Who may be sent.

    def _holder(self, run: Run, *, whole_run: bool) -> str:
        """The name under which a unit is held."""
        return f"run {run.name}" if whole_run else f"request of {run.name}"

    def _is_open(self, run: Run, now_ms: int) -> bool:
        """Whether a waiting run could be sent now, all its rules taken together."""
        if run.waits_since_ms is None or run.waits_since_ms > now_ms or run.function.paused_ms is not None:
            return False
        is_first = run.started_ms is None
        if is_first and run.function.throttle and not run.function.throttle.bucket(run.data).has_room(now_ms):
            return False
        needs = needs_of(run.function.id, run.function.options.get("concurrency"), run.data)
        return all(self.counters.has_room(need) for need in needs if is_first or not need.whole_run)

    def _send(self, run: Run, now_ms: int) -> None:
        """Its request goes out."""
        is_first = run.started_ms is None
        for need in needs_of(run.function.id, run.function.options.get("concurrency"), run.data):
            if is_first or not need.whole_run:
                self.counters.take(need, self._holder(run, whole_run=need.whole_run))
        if is_first:
            run.started_ms = now_ms
            if run.function.throttle:
                run.function.throttle.bucket(run.data).fill(now_ms)
        run.sent_ms.append(now_ms)
        run.waits_since_ms = None
        run.order_is_open = False
        run.busy_until_ms = now_ms + run.function.work[run.done].ms

    def _place(self, now_ms: int, sends: Sequence[str] | None) -> None:
        """Send what can be sent, or object to what a server sent."""
        if sends is None:
            while ready := [run for run in self.under_way() if self._is_open(run, now_ms)]:
                self._send(min(ready, key=lambda run: run.rank), now_ms)
            return
        # What is sent together leaves in any order. The strictest get their place first, then the oldest.
        for name in sorted(sends, key=self._order):
            self._follow(name, now_ms)
        for run in self.under_way():
            if self._is_open(run, now_ms):
                raise Objection(
                    f"{now_ms}: {run.name} waits since {run.waits_since_ms} and everything is open"
                )

    def _follow(self, name: str, now_ms: int) -> None:
        """A server sent a request of this run."""
        run = self.runs.get(name)
        if run is None:
            raise Objection(f"{now_ms}: {name} was sent, which is no run")
        if not self._is_open(run, now_ms):
            raise Objection(f"{now_ms}: {name} was sent, {self._why_closed(run, now_ms)}")
        for other in self.under_way():
            if self._is_passed(other, by=run) and self._is_open(other, now_ms):
                raise Objection(f"{now_ms}: {name} {run.rank} was sent before {other.name} {other.rank}")
        self._send(run, now_ms)

    def _is_passed(self, other: Run, *, by: Run) -> bool:
        """Whether sending one run passes an older one of the same function and keys, which waited before."""
        return (
            other.function is by.function
            and other.waits_since_turn < self._turn
            and not other.order_is_open
            and other.rank < by.rank
            and self._step_needs(other) == self._step_needs(by)
        )

    def _order(self, name: str) -> tuple[list[int], tuple[int, int]]:
        """The numbers that requests of a run go by, and its rank."""
        run = self.runs.get(name)
        if run is None:
            return [], (0, 0)
        needs = needs_of(run.function.id, run.function.options.get("concurrency"), run.data)
        return [need.limit for need in needs if not need.whole_run], run.rank

    def _step_needs(self, run: Run) -> list[str]:
        """The counters of its requests."""
        needs = needs_of(run.function.id, run.function.options.get("concurrency"), run.data)
        return [need.counter for need in needs if not need.whole_run]

    def _why_closed(self, run: Run, now_ms: int) -> str:
        """In words, for an objection."""
        if run.status:
            return f"which has ended ({run.status} {run.reason} at {run.ended_ms})"
        if run.waits_since_ms is None:
            return f"busy until {run.busy_until_ms} or asleep until {run.sleeps_until_ms}"
        if run.waits_since_ms > now_ms:
            return f"which is due at {run.waits_since_ms}"
        if run.function.paused_ms is not None:
            return "whose function is paused"
        full = [
            f"{need} held by {sorted(self.counters.holders[need.counter])}"
            for need in needs_of(run.function.id, run.function.options.get("concurrency"), run.data)
            if not self.counters.has_room(need)
        ]
        return f"beyond {full or 'its throttle'}"
