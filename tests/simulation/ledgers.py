"""Books that the auditor keeps of one matter each: schedules, owners of shards, the forgotten past."""

from collections import Counter
from collections.abc import Callable, Sequence
from datetime import datetime
from itertools import pairwise

from inngest_server.apps.records import CronRow
from inngest_server.events.records import EventRow, MarkRow
from inngest_server.runs.records import RunRow
from inngest_server.storage.protocol import Batch
from inngest_server.storage.records import MessageRow

from .seen import Run, StoredEvent

Wrong = Callable[[str], None]


class CronBook:
    """Schedules: when each was made or removed, and the runs of its slots."""

    def __init__(self, wrong: Wrong, seen: Counter[str]) -> None:
        self._wrong = wrong
        self._seen = seen
        self._removed: dict[str, list[int]] = {}
        self._functions: dict[str, str] = {}

    def take(self, batch: Batch, seq: int) -> None:
        for row in batch.rows.get(CronRow, {}).values():
            assert isinstance(row, CronRow)
            self._functions[row.cron_id] = row.function_id
        for cron_id in map(str, batch.gone.get(CronRow, {})):
            self._removed.setdefault(self._functions.get(cron_id, ""), []).append(seq)

    def check(
        self,
        runs: Sequence[Run],
        events: dict[str, StoredEvent],
        *,
        step_ms: int,
        policy: str,
        jittered: set[str],
    ) -> None:
        """Each slot of each schedule ran once and not early; with the policy `all` none was left out."""
        slots: dict[str, list[tuple[int, int]]] = {}
        for run in runs:
            if run.row.cron is None or run.row.original_run_id is not None:
                continue
            event_id = events[run.row.event_id].row.event_id
            slot_ms = int(datetime.fromisoformat(event_id).timestamp() * 1000)
            late_ms = run.row.created_at_ms - slot_ms
            self._seen["cron: fired"] += 1
            if run.row.function_id in jittered:
                self._seen["cron: with jitter"] += 1
                late_ms -= 1000
            if late_ms < 0:
                self._wrong(f"the cron slot {event_id} started {-late_ms} ms early")
            if late_ms > step_ms:
                self._seen[f"cron: caught up {policy}"] += 1
            slots.setdefault(run.row.function_id, []).append((slot_ms, run.born))
        for function_id, found in slots.items():
            removed = self._removed.get(function_id, ())
            for (earlier_ms, earlier), (later_ms, later) in pairwise(found):
                gap_ms = later_ms - earlier_ms
                if any(earlier < seq <= later for seq in removed):
                    continue  # It was not there for a while, or was made anew.
                self._seen["cron: skipped"] += gap_ms > step_ms
                if gap_ms <= 0 or gap_ms % step_ms or (policy == "all" and gap_ms != step_ms):
                    self._wrong(f"cron of {function_id} ran for {earlier_ms} and then for {later_ms}")


class OwnerBook:
    """The latest epoch that each shard was taken in."""

    def __init__(self, wrong: Wrong) -> None:
        self._wrong = wrong
        self._epochs: dict[int, int] = {}

    def took(self, epochs: dict[int, int]) -> None:
        for shard, epoch in epochs.items():
            if epoch <= self._epochs.get(shard, 0):
                self._wrong(f"shard {shard} was taken in epoch {epoch} after {self._epochs[shard]}")
            self._epochs[shard] = epoch

    def check(self, batch: Batch) -> None:
        for shard, epoch in batch.epochs.items():
            if epoch != self._epochs.get(shard):
                self._wrong(
                    f"shard {shard} was written to in epoch {epoch} by an owner that was replaced in epoch "
                    f"{self._epochs.get(shard)}"
                )
                return


class PastBook:
    """What was pruned, and whether it was to be: nothing that lives or is referred to, and nothing young."""

    def __init__(self, wrong: Wrong, seen: Counter[str], damaged: set[str], *, keep_ms: int) -> None:
        self._wrong = wrong
        self._seen = seen
        self._damaged = damaged
        self._keep_ms = keep_ms
        self.is_without_time = False
        """Whether the clock has jumped."""
        self.before_ms = 0
        """What is older may be gone, where nothing needs it."""
        self._gone_runs: set[str] = set()
        self._gone_events: set[str] = set()
        self._messages: dict[object, bytes] = {}

    def take(self, batch: Batch) -> None:
        """Messages may refer to an event whose body is read when they are taken up."""
        for key, row in batch.rows.get(MessageRow, {}).items():
            assert isinstance(row, MessageRow)
            self._messages[key] = row.body
        for key in batch.gone.get(MessageRow, {}):
            self._messages.pop(key, None)

    def pruned(
        self,
        before_ms: int,
        domain_ms: int,
        latest_ms: int,
        known: dict[str, Run],
        runs: Sequence[RunRow],
        events: Sequence[EventRow],
        marks: Sequence[MarkRow],
    ) -> None:
        """A slice went; `domain_ms` is what was committed, `latest_ms` the latest reading of any clock."""
        self.before_ms = max(self.before_ms, before_ms)
        if before_ms > latest_ms - self._keep_ms:
            self._wrong(f"what is {latest_ms - before_ms} ms old was pruned, and {self._keep_ms} ms are kept")
        for row in runs:
            self._seen["retention: run pruned"] += 1
            self._gone_runs.add(row.run_id)
            if row.ended_at_ms is None or row.ended_at_ms >= before_ms:
                self._wrong(f"run {row.run_id}, ended at {row.ended_at_ms}, was pruned before {before_ms}")
        if events:
            kept = {
                event_id
                for run_id, run in known.items()
                if run_id not in self._gone_runs
                for event_id in (run.row.event_id, *run.further)
            }
            for row in events:
                self._seen["retention: event pruned"] += 1
                self._gone_events.add(row.internal_id)
                if row.received_at_ms >= before_ms:
                    self._wrong(
                        f"event {row.internal_id}, of {row.received_at_ms}, was pruned before {before_ms}"
                    )
                if row.internal_id in kept:
                    self._wrong(f"event {row.internal_id} was pruned, and a run that is kept refers to it")
                if any(self._refers(body, row) for body in self._messages.values()):
                    self._wrong(f"event {row.internal_id} was pruned, and a message refers to it")
        if runs or events:
            self._note_kept(known)
        for row in marks:
            self._seen["retention: mark pruned"] += 1
            if row.expires_at_ms >= domain_ms:
                self._wrong(f"mark {row.key} was pruned {row.expires_at_ms - domain_ms} ms before its end")

    def _refers(self, message: bytes, event: EventRow) -> bool:
        """Whether a message needs an event that is to be there.

        One to a damaged run waits for as long as that is not mended; while the clock jumps a day is nothing.
        """
        is_damaged = any(run_id.encode() in message for run_id in self._damaged)
        is_needed = not (self.is_without_time or is_damaged)
        return is_needed and event.internal_id.encode() in message

    def _note_kept(self, known: dict[str, Run]) -> None:
        """Count the old runs that were kept, each with its event, because they live."""
        for run in known.values():
            if not run.ended and run.row.created_at_ms < self.before_ms:
                self._seen["retention: old run kept because it lives"] += 1

    def is_gone(self, internal_id: str) -> bool:
        return internal_id in self._gone_events
