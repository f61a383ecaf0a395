"""Keeps its own record of a world, outside the system, and says what is wrong.

It sees four things: what was acknowledged to clients, every batch as the disk takes it, every call request
that leaves a node, and what user code in the apps really did. Safety is checked as these arrive;
`check_settled` says whether anything was lost or left behind. Order is the order of these arrivals (`_seq`),
never a clock.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import islice
from typing import Any

import orjson

from inngest_server.apps.records import FunctionRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.flow_control.records import MeterRow, PauseRow, RekeyRow, TermsRow, WindowRow
from inngest_server.jobs.records import JobRow
from inngest_server.runs.records import (
    BatchedEventRow,
    ItemRow,
    ItemState,
    JournalKind,
    JournalRow,
    RunRow,
    RunStatus,
    WaitKind,
    WaitRow,
)
from inngest_server.storage.memory import MemoryStorage
from inngest_server.storage.protocol import Batch
from inngest_server.storage.records import MessageRow

from .apps import Request
from .ledgers import CronBook, OwnerBook, PastBook
from .limits import LimitBook
from .lines import LineBook, earlier_ms
from .options import Rules, read_rules
from .programs import Found, Sleep, WaitForSignal
from .seen import Asked, Client, Dispatch, Registered, Run, StoredEvent, plain
from .starts import StartBook
from .tasks import JobBook
from .waits import WaitBook

MARK_LIFETIME_MS = 24 * 3_600_000
RETRY_DELAYS_MS = [1000 * s for s in (15, 30, 60, 120, 300, 600, 1200, 2400, 3600, 7200)]
LOSSES_PER_ATTEMPT = 10
PROBLEMS_MAX = 20
CLOCKS_DIFFER_MS = 10_000
"""A paused process reads the answer of before by a clock that was set meanwhile."""
SERVER_ERRORS = frozenset(
    ["unreachable", "not_sdk", "invalid_response", "malformed_op", "no_progress", "call_lost", "internal"]
) | {
    "Server returned a fatal error",
    "InngestErrFunctionOverflowed",
    "InngestErrStateOverflowed",
    "output_too_large",
    "InngestErrTimeoutTooLong",
    "stream_failed",
    "http_status",
}
MALFORMED_ERRORS = frozenset(["Function execution error", "<html>"])
"""What the server makes of errors that are none: a number, a page of a proxy."""
CONFLICT = "Signal conflict; signal wait already exists for another run"


class AuditError(AssertionError):
    """The world did what it must not. The message names the seed and every problem found."""


class Auditor:
    """Everything that was seen, and what was wrong with it."""

    def __init__(
        self,
        describe: str,
        now_ms: Callable[[], int],
        true_ms: Callable[[], int],
        seen: Counter[str],
        *,
        keep_ms: int,
        grant_ms: int,
    ) -> None:
        self._describe = describe
        self._now_ms = now_ms
        self._true_ms = true_ms
        self.seen = self._seen = seen
        self._seq = 0
        self._committed_ms = 0
        """Domain time of the latest batch: no later decision is made before it."""
        self.problems: list[str] = []
        self.runs: dict[str, Run] = {}
        self.items: dict[str, ItemRow] = {}
        self._born: dict[str, int] = {}
        self.events: dict[str, StoredEvent] = {}
        self.acknowledged: dict[str, Client] = {}
        self.functions: dict[str, Registered] = {}
        self._ids: dict[str, tuple[str, int]] = {}
        self._runs_of: dict[tuple[str, str], list[str]] = {}
        """Function id and first internal id to the runs that were made, unless people wanted them again."""
        self._lone_runs_of: dict[tuple[str, str], list[str]] = {}
        """Those of them of which there must be one alone: not of a window, and not skipped for a pause."""
        self._dropped: set[tuple[str, str]] = set()
        """Function id and first internal id of events that a rate limit has dropped."""
        self._expected: set[tuple[str, str]] = set()
        self._offered: dict[int, dict[str, Rules]] = {}
        """Registrations that may be decided now, by number: rules by slug."""
        self._dispatches: dict[tuple[str, int], Dispatch] = {}
        self._crons = CronBook(self._wrong, seen)
        self._owners = OwnerBook(self._wrong)
        self.damaged: set[str] = set()
        """Runs whose rows were damaged on purpose: what becomes of them is not promised."""
        self.limits = LimitBook(self._wrong, seen, self.damaged, grant_ms=grant_ms)
        self.starts = StartBook(self._wrong, seen, self.functions, self.events, self.runs, self.damaged)
        self._lines = LineBook(self._wrong, seen, self.functions, self.limits, self.starts)
        self.jobs = JobBook(self._wrong, seen, self.runs)
        self.waits = WaitBook(
            self._wrong,
            seen,
            self.runs,
            self.functions,
            self.events,
            self.acknowledged,
            self.damaged,
            self.starts.callers,
        )
        self.past = PastBook(self._wrong, seen, self.damaged, keep_ms=keep_ms)
        self._results: dict[tuple[str, str], set[bytes]] = {}
        self._errors: dict[tuple[str, str], set[bytes]] = {}
        self._outputs: dict[str, set[bytes]] = {}
        self._raised: dict[str, dict[bytes, set[tuple[str, int]]]] = {}
        """Errors that functions of a run raised, with the calls that they raised them in."""
        self.requests = 0

    # What is seen.

    def begin(self) -> int:
        """A client's request begins; its place in the order of everything."""
        self._seq += 1
        return self._seq

    def acknowledge(self, internal_ids: Sequence[str], began: int) -> None:
        for internal_id in internal_ids:
            self.acknowledged.setdefault(internal_id, Client(internal_id, began))
            if internal_id not in self.events:
                self._wrong(f"event {internal_id} was answered with 200 and is not on disk")

    def acknowledged_cancel(self, run_id: str) -> None:
        run = self.runs.get(run_id)
        if run is not None and not run.ended:
            self._wrong(f"cancelling run {run_id} was answered, and the run goes on")

    def acknowledge_invocation(self, internal_id: str, slug: str, began: int) -> None:
        if internal_id not in self.events:
            self._wrong(f"invocation {internal_id} was answered with 200 and is not on disk")
        # An app that was renamed has left another function of the slug behind.
        ids = [one for one, function in self.functions.items() if function.slug == slug]
        runs_of = [list(self._runs_of.get((one, internal_id), ())) for one in ids]
        runs = [run_id for of_one in runs_of for run_id in of_one]
        is_collected = any(
            self.functions[one].changed > began or self.functions[one].rules.collects is not None
            for one in ids
        )
        # Repeated after that, it may have started the other function too.
        is_once = bool(runs) and all(len(of_one) <= 1 for of_one in runs_of)
        if not is_once and not (is_collected and not runs):
            self._wrong(f"invocation {internal_id} of {slug} was answered with 200 and has the runs {runs}")

    def offer(self, number: int, rules: dict[str, Rules]) -> None:
        """An app announces functions, with these rules by slug, and may be heard from now on."""
        self._offered[number] = rules

    def heard(self, number: int) -> None:
        """The announcement was answered, or nobody will hear it any more."""
        self._offered.pop(number, None)

    def check_rest(self) -> None:
        """A node is up, has nothing to decide, and everything decided is durable."""
        items = [
            (row, self.runs[row.run_id]) for row in self.items.values() if row.run_id not in self.damaged
        ]
        self._lines.check_rest(items, self._committed_ms)

    def mark_ends_ms(self, event_id: str) -> int | None:
        """When an event id will be forgotten; None when it was never seen."""
        mark = self._ids.get(event_id)
        return mark[1] if mark is not None else None

    def runs_of(self, internal_id: str) -> set[str]:
        """Runs that are known to have been started by an event."""
        return {run_id for run_id, run in self.runs.items() if run.row.event_id == internal_id}

    def read_runs(self, internal_id: str, known: set[str], found: set[str]) -> None:
        """A client asked for the runs of an event; `known` is what was durable before it asked."""
        self._seen["client: runs read after the acknowledgement"] += 1
        if not known <= found and not self.past.is_gone(internal_id):
            self._wrong(
                f"event {internal_id} has the runs {sorted(known)}, its sender was told {sorted(found)}"
            )

    def took(self, epochs: dict[int, int]) -> None:
        """A process took shards."""
        self._owners.took(epochs)
        self._lines.took(self._seq)

    def pruned(
        self,
        before_ms: int,
        domain_ms: int,
        runs: Sequence[RunRow],
        events: Sequence[EventRow],
        marks: Sequence[MarkRow],
    ) -> None:
        latest_ms = self._now_ms() + self.jobs.ahead_ms
        self.past.pruned(before_ms, domain_ms, latest_ms, self.runs, runs, events, marks)
        for row in events:
            mark = self._ids.get(row.event_id)
            if mark is not None and mark[0] == row.internal_id and mark[1] > self._now_ms():
                self._wrong(f"event {row.internal_id} was pruned while its id is remembered")

    def step_ran(self, request: Request, step_id: str, result: bytes) -> None:
        results = self._results.setdefault((request.run_id, step_id), set())
        results.add(plain(result))
        self._seen["run: a step ran more than once"] += len(results) > 1

    def step_raised(self, request: Request, step_id: str, error: bytes) -> None:
        self._errors.setdefault((request.run_id, step_id), set()).add(plain(error))
        self.call_failed(request.item_id, request.generation)

    def returned(self, request: Request, output: bytes) -> None:
        self._outputs.setdefault(request.run_id, set()).add(plain(output))

    def raised(self, request: Request, error: bytes) -> None:
        errors = self._raised.setdefault(request.run_id, {})
        errors.setdefault(plain(error), set()).add((request.item_id, request.generation))
        self.call_failed(request.item_id, request.generation)

    def call_failed(self, item_id: str, generation: int) -> None:
        """A dispatch may count as a failed attempt: the app or the network failed it."""
        dispatch = self._dispatches.get((item_id, generation))
        if dispatch is not None:
            dispatch.failed = True

    def found_nothing(self, request: Request) -> None:
        """The step of a targeted request is not in the app's code: that counts as a failed try."""
        self.call_failed(request.item_id, request.generation)

    def asked_to_wait(self, item_id: str, generation: int, until_ms: int, wait_ms: int) -> None:
        dispatch = self._dispatches.get((item_id, generation))
        if dispatch is not None:
            dispatch.asked = Asked(until_ms, wait_ms, self._true_ms())

    def reported(self, request: Request, found: Sequence[Found], skew_ms: int) -> None:
        """An app reports steps; `skew_ms` is how far its clock is off, from which some SDKs count."""
        run = self.runs.get(request.run_id)
        for one in found:
            if run is not None and isinstance(one.statement, Sleep):
                # No wait of the run can be over before the first time that anybody asked for it.
                began_ms = self._committed_ms - self.jobs.ahead_ms  # Apps go by the machine's clock.
                until_ms = began_ms + 1000 * one.statement.seconds + min(skew_ms, 0)
                run.sleeps.setdefault(one.step_id, until_ms)
            elif run is not None and isinstance(one.statement, WaitForSignal):
                run.signals.add(one.statement.signal)

    def fetched(self, request: Request) -> None:
        """An app fetched the memos that a request did not carry."""
        run = self.runs.get(request.run_id)
        missing = set(request.stack) - request.raw_memos.keys()
        if missing:
            self._wrong(f"the state of {request.run_id} was fetched without the steps {sorted(missing)}")
        if run is not None:
            self._check_memos(f"the state of {request.run_id}", request, run)

    def _check_memos(self, name: str, request: Request, run: Run) -> None:
        for step_id, memo in request.raw_memos.items():
            if step_id not in run.memos or memo != plain(run.memos[step_id]):
                self._wrong(f"{name} has {memo!r} for step {step_id}, stored is {run.memos.get(step_id)!r}")

    def sending(self, request: Request, *, is_replaced: bool = False) -> None:
        """A call request leaves a node; a replaced one has woken up and does not know it yet."""
        self.requests += 1
        self._seq += 1
        name = f"request for {request.item_id} generation {request.generation}"
        run = self.runs.get(request.run_id)
        dispatch = self._dispatches.get((request.item_id, request.generation))
        if run is None or dispatch is None:
            self._wrong(f"{name} was sent before the disk knew of it")
            return
        dispatch.seen += 1
        if dispatch.seen > 1:
            self._wrong(f"{name} was sent {dispatch.seen} times")
        if run.ended and not is_replaced:
            self._wrong(f"{name} was sent after the end of the run")
        if dispatch.due_ms > self._now_ms() + self.jobs.ahead_ms:
            self._wrong(f"{name} was sent {dispatch.due_ms - self._now_ms()} ms early")
        if request.attempt != dispatch.attempt:
            self._wrong(f"{name} says attempt {request.attempt}, stored is {dispatch.attempt}")
        if request.stack != list(run.memos)[: len(request.stack)]:
            self._wrong(f"{name} has the stack {request.stack}, stored is {list(run.memos)}")
        if list(request.raw_memos) != ([] if request.use_api else sorted(request.stack)):
            self._wrong(f"{name} has memos of {list(request.raw_memos)} and the stack {request.stack}")
        self._check_memos(name, request, run)
        if dispatch.urls is not None and request.url.partition("?")[0] not in dispatch.urls:
            self._wrong(f"{name} went to {request.url}, its function is at {sorted(dispatch.urls)}")
        if not self.functions[run.row.function_id].active:
            self._seen["deploy: run of a removed function called at its last URL"] += 1
        event = plain(orjson.dumps(request.event))
        if run.event_seen not in (None, event):
            self._wrong(f"{name} has another event than the requests before it")
        run.event_seen = event

    # What the disk takes.

    def applied(self, batch: Batch) -> None:
        """One batch became durable."""
        self._seq += 1
        self.waits.seq = self._seq
        if batch.now_ms > self._now_ms() + self.jobs.ahead_ms:
            self._wrong(f"a batch was decided {batch.now_ms - self._now_ms()} ms ahead of every clock")
        if batch.now_ms < self._committed_ms:
            self._wrong(f"domain time went back by {self._committed_ms - batch.now_ms} ms")
        self._owners.check(batch)
        self._crons.take(batch, self._seq)
        self.past.take(batch)
        self._committed_ms = max(self._committed_ms, batch.now_ms)
        touched: dict[str, None] = {}
        for row in self._rows(batch, FunctionRow):
            self._sync(row, batch)
        stored = [self._store_event(row, batch.now_ms) for row in self._rows(batch, EventRow)]
        new_events = [event for event in stored if event is not None]
        known = len(self.runs)
        for row in self._rows(batch, RunRow):
            self._put_run(row, batch)
            touched[row.run_id] = None
        new_runs = list(islice(self.runs.values(), known, None))
        for row in sorted(self._rows(batch, BatchedEventRow)):
            self.runs[row.run_id].further.append(row.event_id)
        closing = {
            wait_id: self.waits.open.pop(wait_id, None) for wait_id in map(str, batch.gone.get(WaitRow, {}))
        }
        for row in self._rows(batch, WaitRow):
            self.waits.put(row)
            touched[row.run_id] = None
        memo_of = {(e.run_id, e.step_id): e for e in batch.journal if e.kind == JournalKind.MEMO}
        for entry in batch.journal:
            self._append(entry)
            touched[entry.run_id] = None
        for wait in closing.values():
            if wait is not None:
                self.waits.close(wait, memo_of.get((wait.row.run_id, wait.row.step_id)), batch)
                touched[wait.row.run_id] = None
        self.starts.take(batch, new_events, new_runs, self._seq)
        self.jobs.take(batch, new_runs, self._seq)
        self._count_runs(batch, new_runs)
        for function_id in map(str, batch.gone.get(RekeyRow, {})):
            self._rekeyed(function_id)
        for item_id in map(str, batch.gone.get(ItemRow, {})):
            item = self.items.pop(item_id, None)
            if item is not None:
                self.limits.stop(item_id)
                self._lines.gone(item_id, self.runs[item.run_id])
                self.runs[item.run_id].items.discard(item_id)
                touched[item.run_id] = None
        items = self._rows(batch, ItemRow)
        for row in items:
            if row.state != ItemState.SENT:  # Those that give slots back come before those that take them.
                self._put_item(row, batch)
        sent = [row for row in items if row.state == ItemState.SENT]
        for row in sorted(sent, key=self._strictness):
            self._put_item(row, batch)
        for run_id in touched:
            self._check_run(run_id)
            run = self.runs.get(run_id)
            if run is not None and run.started == run.ended == self._seq:
                self.limits.started_and_ended(run, batch.now_ms)
        for event in new_events:
            self._check_started(event)
        self.waits.check_batch(batch)

    def _strictness(self, row: ItemRow) -> int:
        run = self.runs.get(row.run_id)
        return self.limits.strictness(run.row.function_id) if run is not None else 0

    def _rows(self, batch: Batch, kind: type[Any]) -> list[Any]:
        return list(batch.rows.get(kind, {}).values())

    def _sync(self, row: FunctionRow, batch: Batch) -> None:
        config = orjson.loads(row.config)
        before = self.functions.get(row.function_id)
        attempts = config["steps"]["step"]["retries"]["attempts"] + 1
        url = config["steps"]["step"]["runtime"]["url"].partition("?")[0]
        trigger = next((one for one in config["triggers"] if "event" in one), {})
        rules = read_rules(config)
        offered = [one[row.slug] for one in self._offered.values() if row.slug in one]
        between = [one for one in offered if one != rules] if len(self._offered) > 1 else []
        limits = self.limits.present(row.function_id)
        self.limits.configured(
            row.function_id,
            rules,
            between,
            self._former(row.function_id, batch),
            self._seq,
            batch.now_ms,
        )
        self._lines.configured(row.function_id, limits, self.limits.present(row.function_id))
        self.functions[row.function_id] = Registered(
            slug=row.slug,
            event=trigger.get("event"),
            expression=trigger.get("expression"),
            max_attempts=max(attempts, before.max_attempts if before else 0),
            rules=rules,
            url=url,
            url_before=before.url if before else url,
            cancels=bool(config.get("cancel")),
            jitters=any("jitter" in one for one in config["triggers"]) or bool(before and before.jitters),
            active=row.archived_at_ms is None,
            changed=self._seq,
            among_others=len(self._offered) > 1,
        )

    def _former(self, function_id: str, batch: Batch) -> list[Rules] | None:
        """Limits of before that count on, as they were stored; None if none were."""
        row = batch.rows.get(RekeyRow, {}).get(function_id)
        if isinstance(row, RekeyRow):
            return [read_rules(one).counted for one in orjson.loads(row.limits)]
        before = self.functions.get(function_id)
        if before is not None and function_id in batch.gone.get(RekeyRow, {}):
            return [before.rules.counted]  # It was there for less than a batch.
        return None

    def _rekeyed(self, function_id: str) -> None:
        runs = [run for run in self.runs.values() if run.row.function_id == function_id and not run.ended]
        sent = {
            run.row.run_id: [one for one in run.items if self.items[one].state == ItemState.SENT]
            for run in runs
        }
        self.limits.rekeyed(function_id, runs, sent, self._seq)

    def _store_event(self, row: EventRow, now_ms: int) -> StoredEvent | None:
        known = self.events.get(row.internal_id)
        if known is not None:
            if row.body != known.row.body:
                self._wrong(f"the stored event {row.internal_id} was changed")
            return None
        k = orjson.loads(row.body).get("data", {}).get("k") if row.body else None
        event = self.events[row.internal_id] = StoredEvent(row, self._seq, now_ms, k, False, row.internal_id)
        if row.name == "inngest/function.failed":
            self._expect_runs(event, row.name)
            return event
        if row.name.startswith("inngest/"):
            return None
        first = self._ids.get(row.event_id)
        if first is not None:
            within = "within" if first[1] > now_ms else "after"
            self._seen[f"client: id sent again {within} a day"] += 1
            self._seen["client: id sent again within 10 ms of its end"] += abs(first[1] - now_ms) <= 10
        if first is not None and first[1] > now_ms:
            event.duplicate, event.first = True, first[0]
        else:
            self._ids[row.event_id] = (row.internal_id, row.received_at_ms + MARK_LIFETIME_MS)
        self._expect_runs(event, row.name)
        return event

    def _expect_runs(self, event: StoredEvent, name: str) -> None:
        """Each active function whose trigger matches has a run of this event id; exactly one.

        Unless it collects events, which is the matter of another book.
        """
        data = orjson.loads(event.row.body)["data"] if event.row.body else {}
        for function_id, function in self.functions.items():
            if function.changed == self._seq or not function.active or function.event != name:
                continue  # Of one synced in the same batch nobody knows whether before or after the event.
            collects, is_limited = function.rules.collects, function.rules.rate is not None
            if event.row.body is None:
                self._wrong(f"{name} {event.row.internal_id} was stored without a body for {function.slug}")
            elif function.wants(name, data) and collects is None and not (is_limited and event.duplicate):
                self._expected.add((function_id, event.first))

    def _check_started(self, event: StoredEvent) -> None:
        for function_id in self.functions:
            key = (function_id, event.first)
            is_asked = any(
                (function_id, one) in self.starts.asked for one in (event.row.internal_id, event.first)
            )
            if key in self._expected and not (key in self._runs_of or key in self._dropped or is_asked):
                self._wrong(
                    f"event {event.row.internal_id} (first {event.first}) has no run of "
                    f"{self.functions[function_id].slug}"
                )
            if len(self._lone_runs_of.get(key, ())) > 1:
                self._wrong(
                    f"event {event.row.internal_id} (first {event.first}) has the runs "
                    f"{self._lone_runs_of[key]} of {self.functions[function_id].slug}"
                )

    def _count_runs(self, batch: Batch, new_runs: list[Run]) -> None:
        """Which event made which run."""
        for key in map(str, batch.rows.get(MarkRow, {})):
            if key.startswith("why/"):
                _, event_id, function_id = key.split("/")
                self._dropped.add((function_id, self.events[event_id].first))
        for run in new_runs:
            row, event = run.row, self.events[run.row.event_id]
            if row.parent is not None or row.cron is not None or row.original_run_id is not None:
                continue
            key = (row.function_id, event.first)
            self._runs_of.setdefault(key, []).append(row.run_id)
            function = self.functions[row.function_id]
            if row.function_id not in self.starts.paused and row.batch_id is None and not run.is_of_window:
                collects_now = function.rules.collects is not None and function.changed != self._seq
                if not collects_now and not self.starts.was_paused(row.function_id, self._seq):
                    self._lone_runs_of.setdefault(key, []).append(row.run_id)

    def _put_run(self, row: RunRow, batch: Batch) -> None:
        run = self.runs.get(row.run_id)
        event = self.events.get(row.event_id)
        if run is None:
            if event is None:
                self._wrong(f"run {row.run_id} has no event")
                return
            run = self.runs[row.run_id] = Run(row, event.k, self._seq)
            self._check_cancel_wait(run, batch)
            self._bind(run)
            if row.parent is None and row.cron is None and row.original_run_id is None:
                key = (row.function_id, event.first)
                is_invoked = row.event_name == "inngest/function.invoked"
                if (
                    key not in self._expected
                    and not is_invoked
                    and not self.starts.is_collected(row.function_id, row.event_id)
                    and (row.function_id, row.event_id) not in self.starts.asked
                    and not self._may_start(row.function_id, event)
                ):
                    self._wrong(f"run {row.run_id} was started by {event.row}, which is not for it")
        elif run.ended:
            if row != run.row:
                self._wrong(f"run {row.run_id} ended as {run.row} and became {row}")
            return
        run.row = row
        if row.started_at_ms is not None and not run.started:
            run.started = self._seq
        if not RunStatus(row.status).has_ended:
            return
        run.ended = self._seq
        self.limits.stop(row.run_id)
        self._seen[f"run: {row.status.lower()}"] += 1
        output = plain(row.output) if row.output is not None else None
        if row.status == RunStatus.COMPLETED and output not in self._outputs.get(row.run_id, ()):
            self._wrong(f"run {row.run_id} ended with {row.output!r}, which its app never returned")
        if row.status == RunStatus.FAILED:
            self._check_failure(run, output or b"", batch)

    def _bind(self, run: Run) -> None:
        """Take down what a run gets from its function when it is made, and keeps."""
        function = self.functions[run.row.function_id]
        if function.changed == self._seq:
            run.is_unclear = True  # It may have been made before that sync, or after it.
            return
        run.earlier_ms = earlier_ms(run, has_priority=function.rules.has_priority)
        if function.rules.start_ms is not None:
            event = self.events[run.row.event_id]
            due_ms = run.row.created_at_ms
            if run.row.batch_id is None:
                due_ms = max(due_ms, event.row.ts_ms)
            run.start_by_ms = due_ms + function.rules.start_ms

    def _check_failure(self, run: Run, output: bytes, batch: Batch) -> None:
        """A run fails by what its app raised in a call that was not replaced, or by an own error."""
        error: Any = orjson.loads(output or b"{}")
        if error.get("message") == CONFLICT:
            self._seen["wait: signal conflict"] += 1
            waits = [wait.row for wait in self.waits.open.values()] + self._rows(batch, WaitRow)
            if not any(row.kind == WaitKind.SIGNAL and row.name in run.signals for row in waits):
                self._wrong(f"run {run.row.run_id} failed by a signal conflict, and nobody waits for one")
            return
        calls = self._raised.get(run.row.run_id, {}).get(output)
        if calls is None:
            if error.get("name") not in SERVER_ERRORS and error.get("message") not in MALFORMED_ERRORS:
                self._wrong(f"run {run.row.run_id} failed with {output!r}, which its app never raised")
            return
        items = [self.items.get(item_id) for item_id, _ in calls]
        if not any(item is not None and (item.item_id, item.generation) in calls for item in items):
            self._wrong(f"run {run.row.run_id} failed with {output!r}, raised by the replaced calls {calls}")

    def _check_cancel_wait(self, run: Run, batch: Batch) -> None:
        """What a function says about `cancelOn` when a run starts holds for that run to its end."""
        function = self.functions[run.row.function_id]
        if function.changed == self._seq or RunStatus(run.row.status).has_ended or run.k is None:
            return
        opened = any(
            row.run_id == run.row.run_id and row.kind == WaitKind.CANCEL for row in self._rows(batch, WaitRow)
        )
        if opened != function.cancels:
            self._wrong(f"run {run.row.run_id} has {'a' if opened else 'no'} cancelOn, unlike its function")

    def _may_start(self, function_id: str, event: StoredEvent) -> bool:
        """An event sent again starts what was not there the first time."""
        function = self.functions[function_id]
        if function.changed == self._seq:
            return True
        return function.active and function.wants(event.row.name, {"k": event.k})

    def _append(self, entry: JournalRow) -> None:
        run = self.runs.get(entry.run_id)
        if run is None:
            self._wrong(f"a journal entry of the unknown run {entry.run_id}")
            return
        run.entries += 1
        if entry.n != run.entries:
            self._wrong(f"journal of {entry.run_id}: entry {entry.n} stands where {run.entries} belongs")
            run.entries = entry.n
        if run.ended and run.ended != self._seq:
            self._wrong(f"journal of {entry.run_id}: {entry.kind} was added after the end")
        if entry.kind == JournalKind.ENDED:
            self._check_reason(run, entry)
        if entry.kind != JournalKind.MEMO:
            return
        assert entry.payload is not None
        if entry.step_id in run.memos:
            self._wrong(f"step {entry.step_id} of {entry.run_id} has a second memo")
        run.memos[entry.step_id] = entry.payload
        memo = orjson.loads(entry.payload)
        meta = orjson.loads(entry.meta)
        op = meta.get("op")
        key = (entry.run_id, entry.step_id)
        if run.row.original_run_id is not None and ("kept" in meta or "edited" in meta):
            self._check_planted(run, entry, is_kept="kept" in meta)
            return
        if op == "StepRun" and plain(orjson.dumps(memo["data"])) not in self._results.get(key, ()):
            self._wrong(f"memo {entry.payload!r} of {key} is no result of the step")
        if op == "StepFailed" and plain(orjson.dumps(memo["error"])) not in self._errors.get(key, ()):
            self._wrong(f"memo {entry.payload!r} of {key} is no error of the step")
        if op == "WaitForSignal" and memo is not None:
            self.waits.take_signal(entry)
        if op == "Sleep":
            early_ms = run.sleeps.get(entry.step_id, 0) - entry.at_ms
            if memo is not None or early_ms > 0:
                self._wrong(f"sleep {key} ended {early_ms} ms early with {memo}")

    def _check_planted(self, run: Run, entry: JournalRow, *, is_kept: bool) -> None:
        """A fork begins with results of the run before it, or with those that a client gave."""
        original = self.runs[run.row.original_run_id or ""]
        self._seen["run: forked with a result"] += 1
        if is_kept and entry.payload != original.memos.get(entry.step_id):
            self._wrong(
                f"step {entry.step_id} of the fork {entry.run_id} has {entry.payload!r}, before it was "
                f"{original.memos.get(entry.step_id)!r}"
            )

    def _check_reason(self, run: Run, entry: JournalRow) -> None:
        """Why a run has ended, where that says more than its status."""
        reason = str(orjson.loads(entry.meta or b"{}").get("reason", ""))
        if reason.startswith("event "):
            self._seen["run: cancelled by an event"] += 1
        elif reason.startswith("timeout: "):
            which = reason.split()[1]
            self._seen[f"timeout: {which}"] += 1
            finish_ms = self.functions[run.row.function_id].rules.finish_ms
            started_ms = run.row.started_at_ms
            due_ms = run.start_by_ms
            if which == "finish" and started_ms is not None:
                due_ms = started_ms + finish_ms if finish_ms is not None else None
            # What was due before a sync may be decided after it.
            is_clear = self.functions[run.row.function_id].changed < run.born
            if is_clear and (due_ms is None or entry.at_ms < due_ms):
                self._wrong(f"run {entry.run_id} ended by {reason} at {entry.at_ms}, and was due at {due_ms}")

    # Items.

    def _put_item(self, row: ItemRow, batch: Batch) -> None:
        run = self.runs.get(row.run_id)
        if run is None:
            self._wrong(f"item {row.item_id} of the unknown run {row.run_id}")
            return
        before = self.items.get(row.item_id)
        run.items.add(row.item_id)
        self._born.setdefault(row.item_id, self._seq)
        self.items[row.item_id] = row
        function = self.functions[run.row.function_id]
        if row.attempt >= function.max_attempts:
            self._wrong(f"item {row.item_id} has attempt {row.attempt} of {function.max_attempts}")
        if before is not None:
            self._check_change(before, row, batch)
        event = self.events.get(run.row.event_id)
        is_first = row.item_id.endswith(".0") and run.row.batch_id is None
        if is_first and event is not None and row.due_at_ms < event.row.ts_ms:
            self._wrong(f"item {row.item_id} is due {event.row.ts_ms - row.due_at_ms} ms before its event")
        if row.state != ItemState.SENT:
            if before is not None and not row.losses:
                self.limits.stop(row.item_id)
            if row.state == ItemState.PARKED:
                self._lines.parked(row, run, seq=self._seq, now_ms=batch.now_ms)
            else:
                self._lines.gone(row.item_id, run)
            return
        generation = before.generation if before is not None else 0
        if row.generation == generation and before is not None and before.state == ItemState.SENT:
            return
        if row.generation != generation + 1:
            self._wrong(f"item {row.item_id} went from generation {generation} to {row.generation}")
        if row.sent_at_ms < row.due_at_ms:
            self._wrong(f"item {row.item_id} was sent {row.due_at_ms - row.sent_at_ms} ms early")
        urls: set[str] | None = {function.url}
        if function.changed == self._seq:
            urls = None if function.among_others else {function.url, function.url_before}
        self._dispatches[row.item_id, row.generation] = Dispatch(row.attempt, row.due_at_ms, urls)
        run.last_sent = self._seq
        if row.losses:
            self._seen["run: item sent again after a loss"] += 1
        else:  # What is sent again keeps the slots that it had.
            self._check_sent(row, run, function, batch.now_ms)

    def _check_sent(self, row: ItemRow, run: Run, function: Registered, now_ms: int) -> None:
        """A request goes out that was not under way: all its gates are open."""
        is_start, is_new = run.started == self._seq, function.changed == self._seq
        paused = self.starts.paused.get(run.row.function_id)
        if paused is not None and paused < self._seq:
            self._wrong(f"item {row.item_id} was sent, and its function {function.slug} is paused")
        if is_start:
            self.starts.started(run)
            if run.start_by_ms is not None and now_ms >= run.start_by_ms:
                self._wrong(f"run {row.run_id} started {now_ms - run.start_by_ms} ms after its start timeout")
        elif function.rules.finish_ms is not None and not is_new:
            late_ms = now_ms - (run.row.started_at_ms or 0) - function.rules.finish_ms
            if late_ms >= 0:
                self._wrong(f"item {row.item_id} was sent {late_ms} ms after the finish timeout")
        born = self._born[row.item_id]
        self.limits.sent(
            row.item_id,
            run,
            is_start=is_start,
            born=born,
            seq=self._seq,
            now_ms=now_ms,
            is_new=is_new,
        )
        self._lines.sent(row, run, is_start=is_start, now_ms=now_ms)

    def _check_change(self, before: ItemRow, row: ItemRow, batch: Batch) -> None:
        if row.attempt not in (0, before.attempt, before.attempt + 1):
            self._wrong(f"item {row.item_id} went from attempt {before.attempt} to {row.attempt}")
        if row.due_at_ms < before.due_at_ms:
            self._wrong(f"item {row.item_id} became due {before.due_at_ms - row.due_at_ms} ms earlier")
        if row.attempt == before.attempt + 1:
            dispatch = self._dispatches.get((row.item_id, before.generation))
            is_lost = before.losses + 1 >= LOSSES_PER_ATTEMPT
            if dispatch is None or not (dispatch.failed or is_lost):
                self._wrong(f"item {row.item_id} lost attempt {before.attempt}, but no call of it failed")
            self._seen["run: retried"] += 1
            wait_ms = row.due_at_ms - batch.now_ms
            if dispatch is not None and dispatch.asked is not None:
                early_ms = self._not_before_ms(dispatch.asked, batch.now_ms) - row.due_at_ms
                if early_ms > CLOCKS_DIFFER_MS:
                    self._wrong(f"item {row.item_id} is tried again {early_ms} ms before its Retry-After")
            elif wait_ms < RETRY_DELAYS_MS[min(before.attempt, 9)]:
                self._wrong(f"item {row.item_id} is tried again {wait_ms} ms after attempt {before.attempt}")

    def _not_before_ms(self, asked: Asked, now_ms: int) -> int:
        """The earliest moment of a try, decided at `now_ms`, that keeps to what the app asked for.

        Where the machine's clock was set back before that, the date says nothing any more, and what is left
        of the time counts.
        """
        if now_ms >= asked.until_ms - asked.wait_ms:
            return asked.until_ms
        return now_ms + asked.wait_ms - (self._true_ms() - asked.true_ms)

    def _check_run(self, run_id: str) -> None:
        run = self.runs.get(run_id)
        if run is None:
            return
        if not run.ended:
            if not (run.items or run.waits):
                self._wrong(f"run {run_id} has no reason to wake")
        elif run.items or run.waits:
            self._wrong(f"run {run_id} ended and left {sorted(run.items | run.waits)} behind")

    # The end.

    def check_settled(self, rows: MemoryStorage) -> None:
        """After healing: everything that was promised has happened, and nothing is left."""
        if self.problems:
            return  # What went wrong before explains most of what is missing now.
        for internal_id in self.acknowledged:
            if internal_id not in rows._rows[EventRow] and not self.past.is_gone(internal_id):
                self._wrong(f"the acknowledged event {internal_id} is lost")
        for (function_id, first), run_ids in self._lone_runs_of.items():
            # Where the clock jumps by days, an id may be forgotten between the request and its repetition.
            if len(run_ids) > 1 and not self.past.is_without_time:
                self._wrong(f"event {first} started {self.functions[function_id].slug} as {run_ids}")
        for run in self.runs.values():
            if not run.ended:
                if run.row.run_id in self.damaged:
                    continue
                self._wrong(
                    f"run {run.row.run_id} never ended: items {sorted(run.items)} waits {sorted(run.waits)}"
                )
            elif run.row.status == RunStatus.FAILED and not run.row.event_name.startswith(
                "inngest/function.f"
            ):
                self._check_failure_event(run)
        self.starts.check_settled()
        self.jobs.check_settled()
        for kind in (ItemRow, WaitRow, MessageRow, TermsRow, WindowRow, RekeyRow, PauseRow):
            left = [row for row in rows._rows[kind].values() if not self._is_damaged(row)]
            if left:
                self._wrong(f"left behind in storage: {sorted(left)[:3]}")
        self.waits.check_settled()

    def _is_damaged(self, row: Any) -> bool:
        return getattr(row, "run_id", "") in self.damaged or (
            isinstance(row, MessageRow) and any(one.encode() in row.body for one in self.damaged)
        )

    def check_crons(self, step_ms: int, *, policy: str) -> None:
        jittered = {one for one, function in self.functions.items() if function.jitters}
        self._crons.check(
            list(self.runs.values()), self.events, step_ms=step_ms, policy=policy, jittered=jittered
        )

    def check_forgotten(self, rows: MemoryStorage) -> None:
        """Long after everything has ended: nothing old is there but what damaged runs need."""
        left = [self.runs[run_id] for run_id in self.damaged if not self.runs[run_id].ended]
        needed = {event_id for run in left for event_id in (run.row.event_id, *run.further)}
        for kind in (RunRow, EventRow, MarkRow, MeterRow, JobRow):
            left = [
                row
                for row in rows._rows[kind].values()
                if not self._is_damaged(row)
                and getattr(row, "internal_id", "") not in needed
                # Marks expire by committed time, which stands still while nothing happens.
                and not (isinstance(row, MarkRow) and row.expires_at_ms >= rows._domain_time_ms)
            ]
            if left:
                self._wrong(f"too old and not pruned: {len(left)} rows such as {sorted(left)[0]}")

    def _check_failure_event(self, run: Run) -> None:
        found = [
            event
            for event in self.events.values()
            if event.row.name == "inngest/function.failed" and event.row.event_id == run.row.run_id
        ]
        if len(found) != 1:
            self._wrong(f"the failed run {run.row.run_id} has {len(found)} failure events")

    def note(self, problem: str) -> None:
        """Somebody else in the world found something wrong."""
        self._wrong(problem)

    def _wrong(self, problem: str) -> None:
        if len(self.problems) < PROBLEMS_MAX:
            self.problems.append(problem)

    def check(self) -> None:
        """Raise if anything was wrong.

        Raises:
            AuditError: with everything that was found.
        """
        if self.problems:
            listed = "\n".join(f"  - {problem}" for problem in self.problems)
            raise AuditError(f"{self._describe}\n{listed}")
