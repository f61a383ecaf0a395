"""Metrics in the text form of Prometheus.

Our own lines instead of a client library: every figure is already kept by whom it concerns, so there is
nothing to register, and a scrape is one pass over a few counters per function. Whatever grows with the number
of runs is counted as it changes and never here.
"""

import asyncio
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple, Protocol

from inngest_server import __version__
from inngest_server.engine.counters import DAY_MS, Tally
from inngest_server.engine.engine import Engine
from inngest_server.observability.loop_lag import LoopLag
from inngest_server.runs.records import ItemState, WaitKind
from inngest_server.storage.protocol import StorageError

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = tuple[tuple[str, str], ...]


class CallCounts(Protocol):
    """What carries the calls, as far as it is measured."""

    def calls_by_app(self) -> dict[str, tuple[int, int]]:
        """Calls under way, and calls that wait for a connection, by app id."""
        ...


class Sample(NamedTuple):
    value: float
    labels: Labels = ()
    """In the order of their names."""


class Metric(NamedTuple):
    name: str
    kind: str
    """`counter` or `gauge`."""
    help: str
    samples: Sequence[Sample]


BY_FUNCTION_AND_DAY = {
    # Names and texts as documented. Source: features-3, 2.
    "run_ended": ("inngest_function_run_ended_total", "The total number of function runs ended"),
    "run_scheduled": ("inngest_function_run_scheduled_total", "The total number of function runs scheduled"),
    "run_started": ("inngest_function_run_started_total", "The total number of function runs started"),
    "run_rate_limited": (
        "inngest_function_run_rate_limited_total",
        "The total number of function runs not executed because of a rate limit or idempotency",
    ),
    "run_skipped": (
        "inngest_function_run_skipped_total",
        "The total number of function runs skipped, by reason",
    ),
    "req_ended": (
        "inngest_sdk_req_ended_total",
        "The total number of SDK invocation/step execution ended",
    ),
    "req_scheduled": (
        "inngest_sdk_req_scheduled_total",
        "The total number of SDK invocation/step execution scheduled",
    ),
    "req_sent_again": (
        "inngest_sdk_req_sent_again_total",
        "The total number of SDK requests sent again because the server stopped before their answer",
    ),
    "req_started": (
        "inngest_sdk_req_started_total",
        "The total number of SDK invocation/step execution started",
    ),
    "step_output_bytes": (
        "inngest_step_output_bytes_total",
        "The total number of bytes used by step outputs",
    ),
}


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where the figures of one server come from."""

    engine: Engine
    calls: CallCounts
    loop_lag: LoopLag

    async def text(self) -> bytes:
        """All metrics, at this moment. Beside the event loop: a thousand functions have 20,000 lines."""
        reading = self.read(storage_bytes=await self._storage_bytes())
        return await asyncio.to_thread(lambda: exposition(reading.metrics()))

    async def _storage_bytes(self) -> int | None:
        try:
            return await self.engine.storage.used_bytes()
        except StorageError:
            return None

    def read(self, *, storage_bytes: int | None = None) -> "Reading":
        """The figures as they are now; copies, made at once, of what goes on changing.

        Only the storage knows its bytes; None when it did not answer.
        """
        engine, live = self.engine, self.engine.live
        held = engine.held.values()
        known = engine.functions
        calls = Counter[Labels]()
        for app_id, (under_way, waiting) in self.calls.calls_by_app().items():
            app = known.apps.get(app_id)
            name = app.name if app is not None else app_id
            calls[("app", name), ("state", "under_way")] += under_way
            calls[("app", name), ("state", "waiting")] += waiting
        return Reading(
            slugs={function.id: function.row.slug for function in known.all()},
            active=[function.id for function in known.active()],
            days={day: Tally(tally) for day, tally in engine.counters.days.items()},
            items=Counter(live.item_counts),
            waits=Counter(live.wait_counts),
            calls=calls,
            storage_bytes=storage_bytes,
            gauges=(
                ("inngest_runs_live", "Runs that have not ended", live.run_count()),
                (
                    "inngest_runs_held",
                    "Runs set aside after an error of the server",
                    sum(one.kind == "run" for one in held),
                ),
                (
                    "inngest_crons_held",
                    "Schedules set aside after an error of the server",
                    sum(one.kind == "cron" for one in held),
                ),
                (
                    "inngest_windows_held",
                    "Debounces and batches set aside after an error of the server",
                    sum(one.kind == "window" for one in held),
                ),
                ("inngest_windows_open", "Debounces and batches that collect events", len(live.windows)),
                ("inngest_events_undecided", "Events that wait to be decided", engine.admission.events),
                ("inngest_events_undecided_bytes", "Bytes of the events that wait", engine.admission.bytes),
                ("inngest_events_oldest_seconds", "How long the oldest waits", engine.admission.oldest_s),
                ("inngest_loop_lag_seconds", "Largest delay within a minute", self.loop_lag.largest_s),
                ("inngest_engine_available", "1 while facts can be stored", float(not engine.failure)),
                (
                    "inngest_clock_behind_ms",
                    "Time stands still until the clock is there",
                    engine.clock_behind_ms,
                ),
            ),
            counters=(
                ("inngest_commits_total", "Batches made durable", engine.commits),
                ("inngest_facts_decided_total", "Facts decided", engine.facts_decided),
                ("inngest_late_answers_total", "Answers for runs that had ended", engine.late_answers),
            ),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """All figures of one moment."""

    slugs: dict[str, str]
    """By function id."""
    active: list[str]
    days: dict[int, Tally]
    items: Counter[tuple[str, str]]
    waits: Counter[str]
    calls: Counter[Labels]
    storage_bytes: int | None
    gauges: tuple[tuple[str, str, float], ...]
    counters: tuple[tuple[str, str, float], ...]

    def metrics(self) -> Iterator[Metric]:
        """Those without samples included."""
        yield from self._by_day()
        yield from self._by_function()
        yield from self._queues()
        for name, text, value in self.gauges:
            yield Metric(name, "gauge", text, [Sample(value)])
        yield Metric(
            "inngest_storage_bytes",
            "gauge",
            "What the database uses, without free room in its file",
            [Sample(self.storage_bytes)] if self.storage_bytes is not None else [],
        )
        for name, text, value in self.counters:
            yield Metric(name, "counter", text, [Sample(value)])
        yield Metric("inngest_build_info", "gauge", "The version", [Sample(1, (("version", __version__),))])

    def _by_day(self) -> Iterator[Metric]:
        samples: dict[str, list[Sample]] = {what: [] for what in BY_FUNCTION_AND_DAY}
        for day, tally in sorted(self.days.items()):
            date = datetime.fromtimestamp(day * DAY_MS // 1000, UTC).date().isoformat()
            for (what, function_id, status), number in tally.items():
                labels: Labels = (("date", date), ("fn", self._slug(function_id)))
                name = "reason" if what == "run_skipped" else "status"
                samples[what].append(Sample(number, (*labels, (name, status)) if status else labels))
        for what, (name, text) in BY_FUNCTION_AND_DAY.items():
            yield Metric(name, "counter", text, sorted(samples[what], key=lambda one: one.labels))

    def _by_function(self) -> Iterator[Metric]:
        busy = {function_id for (function_id, _), number in self.items.items() if number}
        slugs = sorted((self._slug(function_id), function_id) for function_id in {*self.active, *busy})
        running: list[Sample] = []
        scheduled: list[Sample] = []
        for slug, function_id in slugs:
            waiting = self.items[function_id, ItemState.QUEUED] + self.items[function_id, ItemState.PARKED]
            running.append(Sample(self.items[function_id, ItemState.SENT], (("fn", slug),)))
            scheduled.append(Sample(waiting, (("fn", slug),)))
        yield Metric("inngest_steps_running", "gauge", "The number of steps currently running", running)
        yield Metric("inngest_steps_scheduled", "gauge", "The number of steps scheduled", scheduled)

    def _queues(self) -> Iterator[Metric]:
        items = dict.fromkeys(ItemState, 0)
        for (_, state), number in self.items.items():
            items[ItemState(state)] += number
        yield Metric(
            "inngest_queue_items",
            "gauge",
            "Work of runs: queued until its moment, parked until a limit allows it, or sent to an app",
            [Sample(number, (("state", state.value),)) for state, number in items.items()],
        )
        yield Metric(
            "inngest_waits",
            "gauge",
            "What runs wait for, by kind; cancel is a cancelOn",
            [Sample(self.waits[kind], (("kind", kind.value),)) for kind in WaitKind],
        )
        yield Metric(
            "inngest_app_calls",
            "gauge",
            "Calls to apps: under way, or waiting for one of the app's connections",
            [Sample(number, labels) for labels, number in sorted(self.calls.items())],
        )

    def _slug(self, function_id: str) -> str:
        return self.slugs.get(function_id, function_id)


def exposition(metrics: Iterable[Metric]) -> bytes:
    """The text of metrics, those without samples left out."""
    lines: list[str] = []
    for metric in metrics:
        if not metric.samples:
            continue
        lines.append(f"# HELP {metric.name} {metric.help}\n# TYPE {metric.name} {metric.kind}")
        for value, labels in metric.samples:
            shown = ",".join(f'{name}="{_escaped(text)}"' for name, text in labels)
            lines.append(f"{metric.name}{{{shown}}} {value:.15g}" if shown else f"{metric.name} {value:.15g}")
    return "\n".join([*lines, ""]).encode()


def _escaped(text: str) -> str:
    return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
