"""What really happened in worlds: counts by situation, added up over many seeds.

A situation that never occurs proves nothing about it, so each one listed here must occur in the few hundred
worlds that every test run makes: with count 0 the drawing of worlds is broken, however green it is.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

SITUATIONS: tuple[str, ...] = (
    # Processes.
    "process: crashed between two callbacks",
    "process: stopped in an orderly way",
    "process: paused while another took its shards",
    "process: woke up with a stale epoch",
    "process: commit refused as stale",
    "process: late answer to a paused process",
    "process: start refused, the lock is held",
    # Disk.
    "disk: commit failed",
    "disk: commit unknown and done",
    "disk: commit unknown and lost",
    "disk: commit done late",
    "disk: read failed",
    "disk: world on SQLite",
    "disk: SQLite reopened",
    "disk: damaged run held",
    "disk: other work went on beside a damaged run",
    # Clocks and clients.
    "clock: jumped forward",
    "clock: jumped back",
    "client: event of the far past",
    "client: event of the future",
    "client: seed of a wrong clock",
    "client: id sent again within a day",
    "client: id sent again after a day",
    "client: id sent again within 10 ms of its end",
    "client: one seed sent twice at once",
    "client: runs read after the acknowledgement",
    "client: 503",
    # Apps and the network.
    "app: answer streamed",
    "app: state fetched over REST",
    "app: large result",
    "app: signed call",
    "app: clock off",
    "network: refused",
    "network: answer lost",
    "network: request doubled",
    "network: hangs",
    "network: empty answer",
    "network: Retry-After in seconds",
    "network: Retry-After as a date",
    "network: late answer of an older generation",
    "network: late error of an older generation",
    "checkpoint: stored",
    "checkpoint: refused as replaced",
    # Deployments.
    "deploy: step added",
    "deploy: step removed",
    "deploy: step renamed",
    "deploy: steps reordered",
    "deploy: function removed",
    "deploy: function back",
    "deploy: code removed",
    "deploy: options changed",
    "deploy: cancelOn changed",
    "deploy: retries changed",
    "deploy: app at another URL",
    "deploy: app renamed",
    "deploy: app removed",
    "deploy: run continued on other code",
    "deploy: run of a removed function called at its last URL",
    "registration: lost",
    "registration: doubled",
    "registration: late",
    # What runs do.
    "run: completed",
    "run: failed",
    "run: cancelled by an event",
    "run: cancelled by a client",
    "run: waited for a slot",
    "run: item sent again after a loss",
    "run: retried",
    "run: a step ran more than once",
    "wait: ended by an event",
    "wait: ended by its timeout",
    "wait: ended by a signal",
    "wait: signal replaced",
    "wait: signal conflict",
    "wait: event began after it opened",
    "invoke: answered by its run",
    "invoke: timed out",
    "invoke: from another app",
    "cron: fired",
    "cron: with jitter",
    "cron: caught up one",
    "cron: caught up all",
    "cron: skipped",
    # Limits and throttles.
    "limits: step limit reached",
    "limits: shared step limit reached",
    "limits: run limit reached",
    "limits: throttle used up",
    "limits: sent in its turn",
    "limits: waits at rest",
    "limits: runs counted anew",
    "limits: added while somebody waited",
    "limits: removed while somebody waited",
    "limits: raised while somebody waited",
    "limits: one that waited was cancelled",
    "timeout: start",
    "timeout: finish",
    # Starts.
    "rate limit: event dropped",
    "rate limit: start stored until it was read",
    "idempotency: event dropped",
    "invoke: refused by a rate limit",
    "debounce: window took another event",
    "debounce: bounded by its timeout",
    "debounce: run made of a window",
    "debounce: rate limit read before the run",
    "batch: window took another event",
    "batch: window full",
    "batch: run made of a window",
    "singleton: run skipped",
    "singleton: newer run made an older one end",
    "run: skipped, FunctionPaused",
    "run: skipped, FunctionRemoved",
    "run: skipped, Singleton",
    # What operators do.
    "pause: function paused",
    "pause: function resumed",
    "pause: in flight, hold",
    "pause: in flight, cancel",
    "job: cancel",
    "job: replay",
    "job: deleted",
    "job: done in several slices",
    "job: run cancelled",
    "job: run started again",
    "run: started again by a client",
    "run: forked with a result",
    "explain: unfinished run",
    # Retention.
    "retention: run pruned",
    "retention: event pruned",
    "retention: mark pruned",
    "retention: old run kept because it lives",
)
WORLDS_MIN = 150
"""In fewer worlds than this a rare situation may be missing by chance."""


@dataclass
class Report:
    """What happened in one world or in many, for people."""

    hours: float = 0.0
    events: int = 0
    runs: int = 0
    requests: int = 0
    commits: int = 0
    steps: int = 0
    """Callbacks that the event loop ran."""
    seen: Counter[str] = field(default_factory=Counter[str])

    def __add__(self, other: "Report") -> "Report":
        return Report(
            self.hours + other.hours,
            self.events + other.events,
            self.runs + other.runs,
            self.requests + other.requests,
            self.commits + other.commits,
            self.steps + other.steps,
            self.seen + other.seen,
        )

    def missing(self) -> list[str]:
        """Situations that never occurred."""
        return [name for name in SITUATIONS if not self.seen[name]]

    def total(self, kind: str) -> int:
        """Of all situations of a kind, such as `deploy`."""
        return sum(count for name, count in self.seen.items() if name.startswith(f"{kind}: "))

    def table(self) -> str:
        """Every situation with its count; those that were not foreseen come last."""
        names: Iterable[str] = dict.fromkeys([*SITUATIONS, *sorted(self.seen)])
        return "\n".join(f"{self.seen[name]:>10,}  {name}" for name in names)
