"""The engine beside a model of the documentation: the same things happen to both, and both must come to the
same.

The model follows the engine: whatever the engine sends, and at which moment, the model must find allowed,
and it must find nothing that should have been sent (`tests/models/pipeline.py`). In the end all runs are
compared.
"""

from collections.abc import Sequence
from typing import Any

from inngest_server.engine.facts import FunctionPaused, FunctionResumed
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.execution.driver import Call
from inngest_server.runs.facts import CancelRequested
from inngest_server.runs.records import BatchedEventRow, RunRow
from inngest_server.wire import json
from tests.builders import T0_MS
from tests.models.event import Event
from tests.models.pipeline import Function, World
from tests.unit.engine.aftermath import reason_of
from tests.unit.engine.builders import Office, make_function
from tests.unit.runs.builders import make_op, ran

SLUG = "shop-"
REASONS = {
    "timeout": "timeout",
    "Singleton": "singleton",
    "FunctionPaused": "function paused",
    "request": "test",
}
"""What a cancelled run's reason begins with, by what the model calls it."""


class SideBySide:
    """One engine and one model. Moments are milliseconds since both began."""

    def __init__(self, *functions: Function) -> None:
        # The engine takes a cancelled run's slots back at once; see `World`.
        self.world = World(functions, counts_cancelled=False)
        self.office = Office()
        self.now_ms = 0
        self.sends = 0
        """Requests that were sent."""
        self._numbers: dict[str, int] = {}
        """Of events, by internal id."""
        self._under_way: dict[str, Call] = {}
        """By the run's name."""

    async def open(self) -> None:
        await self.office.open(*map(_registered, self.world.functions.values()))

    async def configure(self, function_id: str, **changes: Any) -> None:
        """A sync changes a function's concurrency."""
        function = self.world.functions[function_id]
        before, options = function.options, {**function.options, **changes}
        function.options = options
        await self.office.sync(*map(_registered, self.world.functions.values()))
        function.options = before
        self.world.configure(function_id, options, self.now_ms, self._new_sends())

    # What happens.

    async def pass_time(self, now_ms: int) -> None:
        """It is later now, and what is due happens."""
        self.now_ms = now_ms
        await self.office.advance(T0_MS + now_ms - self.office.clock.ms)
        self.world.pass_time(now_ms, self._new_sends())
        for name in self.world.due_answers(now_ms):
            await self.answer(name)

    async def receive(self, event: Event) -> None:
        """An event is sent now."""
        fields: dict[str, Any] = {"id": event.id} if event.id else {}
        if event.ts_ms is not None:
            fields["ts"] = T0_MS + event.ts_ms
        data = {**event.data, "number": event.number}
        internal_id = await self.office.send(event.name, data, **fields)
        self._numbers[internal_id] = event.number
        self.world.receive(event, self.now_ms, self._new_sends())

    async def answer(self, name: str) -> None:
        """The app answers a request: with what comes after it in the run's work."""
        call, run = self._under_way.pop(name), self.world.runs[name]
        work, step = run.function.work, f"step-{run.done}"
        if run.done + 1 == len(work):
            await self.office.complete(call)
        elif work[run.done + 1].what == "sleep":
            duration = f"{work[run.done + 1].ms}ms"
            await self.office.report(call, make_op("Sleep", step, name=duration, opts={"duration": duration}))
        else:
            await self.office.report(call, ran(step))
        self.world.answer(name, self.now_ms, self._new_sends())

    async def cancel(self, name: str) -> None:
        """Somebody cancels a run."""
        run = self.world.runs[name]
        [row] = [row for row in self._rows() if self._name(row) == name]
        self.office.engine.tell(CancelRequested(row.run_id, REASONS["request"]))
        await self.office.settle()
        if run.status:
            assert not self._new_sends()
        else:
            self.world.cancel(name, self.now_ms, self._new_sends())

    async def pause(self, function_id: str) -> None:
        self.office.engine.tell(FunctionPaused(SLUG + function_id, cancels=False))
        await self.office.settle()
        self.world.pause(function_id, self.now_ms)
        assert not self._new_sends()

    async def resume(self, function_id: str) -> None:
        self.office.engine.tell(FunctionResumed(SLUG + function_id))
        await self.office.settle()
        self.world.resume(function_id, self.now_ms, self._new_sends())

    async def restart(self) -> None:
        """The server stops and another one goes on with the storage; what was under way is sent again."""
        self.office.desk.recall()
        lost, self._under_way = self._under_way, {}
        await self.office.engine.start()
        await self.office.settle()
        new = self._new_sends()
        under_way = {name for name in lost if not self.world.runs[name].status}
        assert under_way <= set(new), f"{under_way - set(new)} were under way and not sent again"
        for name in lost.keys() - under_way:
            self.world.runs[name].busy_until_ms = None  # Its answer is of no use to anybody.
        self.world.pass_time(self.now_ms, [name for name in new if name not in under_way])

    async def play(self, arrivals: Sequence[tuple[int, Event]], until_ms: int) -> None:
        """These events come, and what follows from them happens, until then."""
        pending = sorted(arrivals, key=lambda arrival: arrival[0])
        while True:
            moment_ms = min(self.next_ms(), pending[0][0] if pending else until_ms + 1)
            if moment_ms > until_ms:
                return
            await self.pass_time(max(moment_ms, self.now_ms))
            while pending and pending[0][0] <= self.now_ms:
                await self.receive(pending.pop(0)[1])

    def next_ms(self) -> int:
        """When something is to happen next in either of the two; far away if nothing is."""
        timers = self.office.engine.live.timers
        timer = timers.soonest()
        moments = [self.world.next_ms(self.now_ms), timer.due_ms - T0_MS if timer is not None else None]
        return min((moment for moment in moments if moment is not None), default=10**15)

    # What both say.

    def runs(self, function_id: str = "f") -> list[RunRow]:
        """The engine's runs of a function, in the order in which they were made."""
        rows = [row for row in self._rows() if self._name(row).startswith(f"{function_id}:")]
        return sorted(rows, key=lambda row: (row.created_at_ms, row.event_id))

    def numbers(self, function_id: str = "f") -> list[list[int]]:
        """The events of each of them."""
        return [self._numbers_of(row) for row in self.runs(function_id)]

    def started(self, function_id: str = "f") -> list[int]:
        """When those that were started were, in the order of that."""
        started = [row.started_at_ms for row in self.runs(function_id) if row.started_at_ms is not None]
        return sorted(moment - T0_MS for moment in started)

    async def compare(self) -> None:
        """All runs of both, and what was dropped within a day, must be the same."""
        assert await self._engine_says() == self._model_says()
        gates = {"rateLimit": "rate limit", "idempotency": "idempotency"}
        notes: list[tuple[str, int, str]] = []
        for row in self.office.storage._all(MarkRow):
            if row.key.startswith("why/"):
                _, internal_id, function_id = row.key.split("/")
                slug = self.office.engine.functions.get(function_id).row.slug
                gate = gates[json.parse(row.value.encode())["gate"]]
                notes.append((slug.removeprefix(SLUG), self._numbers[internal_id], gate))
        dropped = [
            (one.function_id, one.number, one.why) for one in self.world.dropped if one.why != "event id"
        ]
        assert sorted(notes) == sorted(dropped)

    def _model_says(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for run in self.world.runs.values():
            reason = REASONS[run.reason] if run.status == "Cancelled" else run.reason
            status = run.status or ("Running" if run.started_ms is not None else "Scheduled")
            numbers = [event.number for event in run.events]
            moments = (run.created_ms, run.started_ms, run.ended_ms)
            found.append((run.function.id, numbers, status, reason, *moments))
        return sorted(found)

    async def _engine_says(self) -> list[tuple[Any, ...]]:
        found: list[tuple[Any, ...]] = []
        for row in self._rows():
            reason = ""
            if row.status in ("Cancelled", "Skipped"):
                reason = await reason_of(self.office, row.run_id)
            if row.status == "Cancelled":
                reason = next((one for one in REASONS.values() if reason.startswith(one)), reason)
            function_id = self._name(row).partition(":")[0]
            moments = (row.created_at_ms, row.started_at_ms, row.ended_at_ms)
            since = [moment - T0_MS if moment is not None else None for moment in moments]
            found.append((function_id, self._numbers_of(row), row.status, reason, *since))
        return sorted(found)

    def _rows(self) -> list[RunRow]:
        return self.office.storage._all(RunRow)

    def _numbers_of(self, row: RunRow) -> list[int]:
        further = [one for one in self.office.storage._all(BatchedEventRow) if one.run_id == row.run_id]
        further.sort(key=lambda one: one.n)
        return [self._number(row.event_id), *(self._number(one.event_id) for one in further)]

    def _number(self, internal_id: str) -> int:
        if internal_id not in self._numbers:
            for row in self.office.storage._all(EventRow):
                self._numbers[row.internal_id] = (
                    json.parse(row.body or b"{}").get("data", {}).get("number", -1)
                )
        return self._numbers[internal_id]

    def _name(self, row: RunRow) -> str:
        slug = self.office.engine.functions.get(row.function_id).row.slug
        return f"{slug.removeprefix(SLUG)}:{self._number(row.event_id)}"

    def _new_sends(self) -> list[str]:
        """The runs of which a request was sent since this was asked last, in order."""
        known = {id(call) for call in self._under_way.values()}
        new = [call for call in self.office.desk.calls if id(call) not in known]
        names: list[str] = []
        for call in new:
            names.append(self._name(call.run.row))
            self._under_way[names[-1]] = call
        self.sends += len(names)
        return names


def _registered(function: Function) -> dict[str, Any]:
    """A function of the model as an SDK registers it."""
    options = {name: value for name, value in function.options.items() if name != "triggers"}
    triggers = [{"event": name} for name in function.triggers]
    return {**make_function(function.id, None, **options), "triggers": triggers}
