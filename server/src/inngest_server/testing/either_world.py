"""What both kinds of worlds have in common: what is read, and what is planned without waiting."""

import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime, timedelta
from logging import LogRecord
from pathlib import Path
from typing import Any, TypeVar, cast

from inngest_server.engine.time_travel import LATEST_MS
from inngest_server.runs.records import RunRow
from inngest_server.testing import mounts
from inngest_server.testing.app_log import AppLog
from inngest_server.testing.calls import AppCall, Calls, StubFunction
from inngest_server.testing.errors import ClockMoveError, HistoriesDifferError, WorldError
from inngest_server.testing.faults import FAILURES, Failure, Fault, is_named
from inngest_server.testing.follow import FOLLOWS, Verdict
from inngest_server.testing.gate import lines_of, read_history_file
from inngest_server.testing.host import Host
from inngest_server.testing.node import Node, Rules
from inngest_server.testing.outside import HTTPAnswer, HTTPRequest, Outside, Stub
from inngest_server.testing.report import report_of
from inngest_server.testing.run import Link, RunView
from inngest_server.traces.exported import ExportedRun, from_json
from inngest_server.wire.durations import InvalidDurationError, parse_duration_ms
from inngest_server.wire.limits import CALL_TIMEOUT_S, RESPONSE_BYTES_MAX

T = TypeVar("T")
FIRST_PORT = 8001
"""Of the made-up addresses of apps that are called in process."""


class WorldClock:
    """The world's time, which stands still but for `advance` and its like."""

    def __init__(self, node: Node) -> None:
        self._node = node

    @property
    def now(self) -> datetime:
        return datetime.fromtimestamp(self._node.engine.now_ms() / 1000, UTC)

    def __repr__(self) -> str:
        return f"<WorldClock {self.now.isoformat()}>"


class EitherWorld:
    """A world as long as it is open."""

    def __init__(self, host: Host | None, rules: Rules, executor: Callable[[Host], Executor]) -> None:
        self._host = host or Host()
        self._owns_host = host is None
        self._executor = executor(self._host)
        self._calls = Calls(self._executor)
        self._log = AppLog(self._calls, self._host.engines.thread.ident)
        self._is_open = False
        self._apps = 0
        self._node: Node = self._host.engines.submit(self._make(rules)).result()
        self._link = Link(self._node, self._read, self._log.of_run)
        self.clock = WorldClock(self._node)

    async def _make(self, rules: Rules) -> Node:
        return Node(rules, self._calls, lambda real: Outside(self._executor, real))

    # Its life.

    @property
    def url(self) -> str:
        """Where apps reach this world: what they need as INNGEST_DEV."""
        return self._host.url

    @property
    def env(self) -> dict[str, str]:
        """Variables for the process of an app that is to reach this world."""
        return {"INNGEST_DEV": self.url}

    def _open(self) -> None:
        if self._host.app is not None:
            raise WorldError(
                "another world is open: a test has one world, inngest_world or inngest_async_world"
            )
        self._host.log.attach()
        self._host.engines.submit(self._node.start()).result()
        self._host.log.lines.clear()
        self._host.app = self._node.answer
        self._log.open()
        self._is_open = True

    def _close(self) -> None:
        self._log.close()
        if self._is_open:
            self._is_open = False
            self._host.app = None
            self._read(self._node.close())
        if self._owns_host:
            self._host.close()

    def _read(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """The result of what needs no app: reading takes no time worth awaiting."""
        return self._host.engines.submit(coroutine).result()

    # What can be read.

    @property
    def sent_events(self) -> list[dict[str, Any]]:
        """Every event that was sent, by the test and by apps, oldest first."""
        return self._read(self._node.events(with_internal=False))

    @property
    def all_events(self) -> list[dict[str, Any]]:
        """As `sent_events`, with those whose names begin with `inngest/`."""
        return self._read(self._node.events(with_internal=True))

    def events_named(self, name: str) -> list[dict[str, Any]]:
        return [event for event in self.all_events if event["name"] == name]

    @property
    def calls(self) -> list[AppCall]:
        """Every call of an app for a run, oldest first."""
        return list(self._calls.made)

    @property
    def http_requests(self) -> list[HTTPRequest]:
        """Requests that steps had the server make, with their keys."""
        return list(self._node.outside.requests)

    @property
    def logs(self) -> list[LogRecord]:
        """Records of `logging` that were made in this process while apps answered calls."""
        return self._log.all()

    @property
    def server_log(self) -> list[dict[str, Any]]:
        """What the server itself logged."""
        return list(self._host.log.lines)

    def _run_ids(self, function: object) -> list[str]:
        name = name_of(function)
        rows: list[RunRow] = self._read(self._node.run_rows())
        return [row.run_id for row in rows if name is None or is_named(self._node.slug_of(row), name)]

    def report(self) -> str:
        """All runs with their timelines, and the server's complaints: what is shown of a test that failed."""
        runs = [RunView(self._link, one) for one in self._run_ids(None)]
        return report_of(runs, self.clock.now, self.server_log)

    # What is planned.

    def fail_call(
        self, *numbers: int, function: object = None, failure: Failure | None = None, status: int = 503
    ) -> None:
        """Let the n-th call from now on fail, the next one if no number is given.

        `function` narrows it to the calls of one. With `failure` no answer comes: `refused` and `timeout`
        before the app is called, `lost_answer` after it; without, the answer has `status` and is of no SDK.
        """
        if failure is not None and failure not in FAILURES:
            raise ValueError(f"failure must be one of {', '.join(FAILURES)}, got {failure!r}")
        if any(number < 1 for number in numbers):
            raise ValueError(f"calls are counted from 1, got {min(numbers)}")
        self._calls.faults.append(Fault(frozenset(numbers or (1,)), name_of(function), failure, status))

    def stub_http(
        self, url: str, body: Any = None, *, status: int = 200, headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer requests that steps have the server make: `step.ai.infer`, `step.fetch`.

        `url` may contain `*`. `body` is the answer, sent as JSON unless it is text or bytes; or a function
        that takes an `HTTPRequest` and returns it, or a whole `HTTPAnswer`.
        """
        stub: Stub | HTTPAnswer = body if callable(body) else HTTPAnswer(body, status, headers or {})
        self._node.outside.stub(url, stub)

    def allow_network(self) -> None:
        """Let requests of steps that no stub answers go out."""
        self._node.outside.is_allowed = True

    # For both worlds.

    def _next_address(self, path: str, host: str) -> str:
        self._apps += 1
        netloc = host if ":" in host else f"{host}:{FIRST_PORT + self._apps - 1}"
        return f"http://{netloc}/{path.lstrip('/')}"

    def _address_mount(self) -> mounts.Mount:
        return mounts.AddressMount(
            self._node.transport(), timeout_s=CALL_TIMEOUT_S, body_bytes_max=RESPONSE_BYTES_MAX
        )

    def _moment_ms(self, moment: datetime) -> int:
        if moment.tzinfo is None:
            raise ClockMoveError(f"{moment!r} has no time zone; give it tzinfo=UTC, say")
        return min(round(moment.timestamp() * 1000), LATEST_MS)

    def _after_ms(self, by: "timedelta | str | None", parts: Mapping[str, float]) -> int:
        return min(self._node.engine.now_ms() + _length_ms(by, parts), LATEST_MS)


def rules_of(
    start: datetime | None,
    absolute_times: bool,
    retry_interval: timedelta | None,
    patience: timedelta,
    seed: str | None,
) -> Rules:
    if start is not None and start.tzinfo is None:
        raise ValueError(f"start {start!r} has no time zone; give it tzinfo=UTC, say")
    return Rules(
        start_ms=None if start is None else round(start.timestamp() * 1000),
        is_absolute=absolute_times,
        retry_interval_ms=None if retry_interval is None else round(retry_interval.total_seconds() * 1000),
        patience_s=patience.total_seconds(),
        seed=str(time.time_ns()) if seed is None else seed,
    )


def name_of(function: object) -> str | None:
    """How a function is named: by its id, or as an object of an SDK, which has the composite one."""
    if function is None or isinstance(function, str):
        return function
    name = getattr(function, "id", None)
    if not isinstance(name, str):
        raise TypeError(f"a function is named by its id or by the object of its SDK, got {function!r}")
    return name


async def slug_of(node: Node, function: object) -> str:
    """The composite id that is meant; the name itself where none is known."""
    name = name_of(function) or ""
    active = [one.row.slug for one in node.engine.functions.active()]
    named = [slug for slug in active if is_named(slug, name)]
    return name if name in active or len(named) != 1 else named[0]


def events_of(
    event: Any, data: Mapping[str, Any] | None, more: Sequence[Any], fields: Mapping[str, Any]
) -> list[dict[str, Any]]:
    if isinstance(event, str):
        if more:
            raise TypeError("several events are sent as dictionaries or objects of an SDK")
        return [{"name": event, "data": dict(data or {}), **fields}]
    if fields:
        raise TypeError(f"{', '.join(fields)}: fields are given beside the name of a single event")
    several: Sequence[Any] = cast("Sequence[Any]", event) if isinstance(event, list | tuple) else [event]
    given: list[Any] = [*several, *(() if data is None else (data,)), *more]
    return [_event(one) for one in given]


def _event(given: Any) -> dict[str, Any]:
    """An event as a dictionary. SDKs have objects with attributes of these names."""
    if isinstance(given, Mapping):
        return dict(cast("Mapping[str, Any]", given))
    if not isinstance(getattr(given, "name", None), str):
        raise TypeError(f"an event is a dictionary or an object of an SDK, got {given!r}")
    fields = {key: getattr(given, key, None) for key in ("name", "data", "id", "ts", "user", "v")}
    return {
        key: value
        for key, value in fields.items()
        if value not in (None, "") and not (key == "ts" and value == 0)
    }


Histories = str | Path | Sequence[Mapping[str, Any]]
"""A file of histories, or histories as `Run.history` gives them."""


def histories_of(given: Histories) -> list[ExportedRun]:
    """
    Raises:
        BadHistoryError, OSError: there are none.
    """
    if isinstance(given, str | Path):
        return read_history_file(Path(given))
    return [from_json(one) for one in given]


def check_verdicts(verdicts: Sequence[Verdict]) -> None:
    """
    Raises:
        HistoriesDifferError: one does not follow, or could not be asked.
    """
    if any(verdict.outcome != FOLLOWS for verdict in verdicts):
        raise HistoriesDifferError("\n".join(lines_of(verdicts)))


def stub_of(result: Any) -> StubFunction:
    return result if callable(result) else lambda _: result


def _length_ms(by: timedelta | str | None, parts: Mapping[str, float]) -> int:
    if (by is None) == (not parts):
        raise TypeError(
            "say by how much, in one way: advance(days=3), advance('90m') or advance(timedelta(...))"
        )
    if isinstance(by, str):
        try:
            length_ms = parse_duration_ms(by)
        except InvalidDurationError as error:
            raise ClockMoveError(str(error)) from error
    else:
        length_ms = round((timedelta(**parts) if by is None else by).total_seconds() * 1000)
    if length_ms < 0:
        raise ClockMoveError(f"time never goes back, and {by or dict(parts)} would be {length_ms} ms")
    return length_ms
