"""The auditor's book of what people do to functions: jobs on many runs, and runs started again."""

from collections import Counter
from collections.abc import Callable

import orjson

from inngest_server.jobs.records import JobKind, JobRow, JobStatus
from inngest_server.runs.records import JournalKind, JournalRow
from inngest_server.storage.protocol import Batch
from inngest_server.wire import ulid

from .seen import Run


class JobBook:
    """Jobs as their rows tell of them, what they did to runs, and what clients asked for run by run."""

    def __init__(self, wrong: Callable[[str], None], seen: Counter[str], runs: dict[str, Run]) -> None:
        self._wrong = wrong
        self._seen = seen
        self._runs = runs
        self._jobs: dict[str, JobRow] = {}
        self._asked = Counter[str]()
        """Runs that clients wanted again, by how often."""
        self._replayed: set[tuple[str, str]] = set()
        self._cancelled = Counter[str]()
        self._done = Counter[str]()
        self.ahead_ms = 0
        """By how much domain time may be ahead: what is decided after a job was made has a later moment."""

    def ask_job(self) -> None:
        """Somebody asks for a job. It moves time on by a millisecond, also if it is not stored in the end."""
        self.ahead_ms += 1

    def ask_again(self, run_id: str) -> None:
        self._asked[run_id] += 1

    def take(self, batch: Batch, runs: list[Run], seq: int) -> None:
        for row in batch.rows.get(JobRow, {}).values():
            assert isinstance(row, JobRow)
            self._follow(row, batch.now_ms)
        for entry in batch.journal:
            if entry.kind == JournalKind.ENDED:
                self._check_cancelled(entry)
        for run in runs:
            if run.row.original_run_id is not None:
                self._check_again(run, run.row.original_run_id)
        for row in batch.rows.get(JobRow, {}).values():
            assert isinstance(row, JobRow)
            if row.kind == JobKind.REPLAY and self._done[row.job_id] < row.affected:
                self._wrong(f"{row} says more than the {self._done[row.job_id]} runs that it started again")

    def _follow(self, row: JobRow, now_ms: int) -> None:
        before = self._jobs.get(row.job_id)
        self._jobs[row.job_id] = row
        if row.affected + row.undecided > row.seen:
            self._wrong(f"the counts of {row} do not add up")
        if row.until_ms > row.created_at_ms + 1:
            self._wrong(f"{row} is about runs that were made after it")
        if before is None:
            self._seen[f"job: {row.kind}"] += 1
            return
        if before.status != JobStatus.RUNNING:
            self._wrong(f"{before} became {row}")
        same = ("kind", "function_id", "filter", "until_ms", "created_at_ms")
        if any(getattr(before, name) != getattr(row, name) for name in same):
            self._wrong(f"{before} became {row}")
        if (row.cursor, row.seen, row.affected) < (before.cursor, before.seen, before.affected):
            self._wrong(f"{before} went back to {row}")
        if row.status == JobStatus.DELETED:
            self._seen["job: deleted"] += 1
        elif row.status == JobStatus.DONE and before.cursor:
            self._seen["job: done in several slices"] += 1

    def _check_cancelled(self, entry: JournalRow) -> None:
        reason = str(orjson.loads(entry.meta or b"{}").get("reason", ""))
        if not reason.startswith("job "):
            return
        self._seen["job: run cancelled"] += 1
        job, run = self._jobs.get(reason.removeprefix("job ")), self._runs[entry.run_id]
        if job is None:
            self._wrong(f"run {entry.run_id} was cancelled by {reason}, which nobody asked for")
            return
        if run.row.function_id != job.function_id or run.row.created_at_ms >= job.until_ms:
            self._wrong(f"run {entry.run_id}, made at {run.row.created_at_ms}, is none of {job}")
        self._cancelled[job.job_id] += 1
        if self._cancelled[job.job_id] > job.affected:
            self._wrong(f"{job} cancelled {self._cancelled[job.job_id]} runs")

    def _check_again(self, run: Run, original_id: str) -> None:
        """Each run is started again once by each job that is about it, and once whenever a client asks."""
        original = self._runs.get(original_id)
        if original is None:
            self._wrong(f"run {run.row.run_id} repeats the unknown run {original_id}")
            return
        made_ms, ended_ms = original.row.created_at_ms, original.row.ended_at_ms
        wrong: list[JobRow] = []
        for job in self._jobs.values():
            key = (job.job_id, original_id)
            if job.kind != JobKind.REPLAY or key in self._replayed or job.function_id != run.row.function_id:
                continue
            if ulid.timestamp_ms(run.row.run_id) != job.created_at_ms + 1:
                continue  # The moment of its cause stands in its id.
            if made_ms >= job.until_ms or ended_ms is None or ended_ms > job.created_at_ms:
                wrong.append(job)  # Unless another job of that moment is about it.
                continue
            self._replayed.add(key)
            self._done[job.job_id] += 1
            self._seen["job: run started again"] += 1
            return
        if not self._asked[original_id]:  # Somebody may have asked for it at the very moment of a job.
            self._wrong(
                f"run {run.row.run_id} repeats {original.row}, which nobody asked for, and is none of {wrong}"
            )
        self._asked[original_id] -= 1
        self._seen["run: started again by a client"] += 1

    def check_settled(self) -> None:
        for job in self._jobs.values():
            if job.status == JobStatus.RUNNING:
                self._wrong(f"never done: {job}")
