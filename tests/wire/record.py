"""Records the exchanges of the interop apps with a real server.

    .venv/bin/python -m tests.wire.record [python|typescript|typescript-v3]

Writes one fixture per case into `fixtures/<sdk>-<version>/`. A case is recorded only after it met its row of
`tests/interop/cases.md`, so a fixture never shows a fault as right.
"""

import asyncio
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from tests.interop import common
from tests.interop.harness import (
    PYTHON,
    SERVE_PATH,
    TYPESCRIPT,
    TYPESCRIPT_V3,
    App,
    Case,
    Sdk,
    World,
    check,
)
from tests.interop.table import cases
from tests.support.api import Api, request
from tests.support.processes import REPOSITORY, free_port, wait_for
from tests.support.server import ServerProcess
from tests.wire.normal import Names, kept_headers
from tests.wire.proxy import Log, Proxy

FIXTURES = Path(__file__).parent / "fixtures"
QUIET_S = 0.4
"""Without any traffic: a case whose runs have ended is over then."""
APP_PORT, SERVER_PORT = 3000, 8288
REGISTRATION = "registration"
LEFT_OUT = frozenset({"many-steps"})
"""Nothing but long, and quadratic at that: each request repeats all memos."""
STREAMED = frozenset({"noop", "sequential", "parallel", "invoke"})
"""Recorded a second time from the Python SDK with answers that are kept alive (201)."""

Entry = dict[str, Any]
Conduct = Callable[[World], None]


class Recorder:
    """One server and one app with a proxy before each, and the log that both write."""

    def __init__(self, sdk: Sdk, directory: Path, *, streamed: bool = False) -> None:
        self.sdk = sdk
        self._streamed = streamed
        self.log = Log()
        self.server = ServerProcess(directory / "server", "dev", "--retry-interval", "1", "--no-poll")
        self._server_port, self._app_port = free_port(), free_port()
        self.app = App(
            sdk,
            directory,
            server_url=f"http://127.0.0.1:{self._server_port}",
            env={"INNGEST_STREAMING": "force"} if streamed else {},
        )
        self.world = World(self.server, {sdk.app_id: self.app})
        self.world.api = Api(f"http://127.0.0.1:{self._server_port}")
        self._known_runs: set[str] = set()
        self.proxies = (
            (Proxy(self.log, "app", f"http://127.0.0.1:{self.app.port}"), self._app_port),
            (Proxy(self.log, "server", self.server.url), self._server_port),
        )

    def run(self) -> Generator[dict[str, Any]]:
        """All fixtures, as they are made."""
        with ExitStack() as stack:
            stack.enter_context(self.server)
            stack.enter_context(self.app)
            registration = self._record(REGISTRATION, lambda _: self._sync())
            if self._streamed:
                for case in cases(self.sdk):
                    if case.id in STREAMED:
                        yield self._record(f"{case.id}-streamed", conduct(case))
                return
            yield registration
            for case in cases(self.sdk):
                if case.name in LEFT_OUT:
                    continue
                yield self._record(case.id, conduct(case))
            for name, conducted in extras(self.sdk):
                yield self._record(name, conducted)

    def _sync(self) -> None:
        url = f"http://127.0.0.1:{self._app_port}{SERVE_PATH}"
        status, _, body = request("PUT", url, {"url": url}, headers={"x-inngest-server-kind": "dev"})
        assert status == 200, body

    def _record(self, name: str, conducted: Conduct) -> dict[str, Any]:
        begin = len(self.log.entries)
        conducted(self.world)
        self._wait_until_quiet()
        entries = self._of_case(name, begin)
        run_ids = list(dict.fromkeys(run for entry in entries if (run := _run_of(entry))))
        self._known_runs.update(run_ids)
        names = Names()
        begun_at_ms = entries[0]["at_ms"]
        fixture = {
            "case": name,
            "begun_at_ms": begun_at_ms,
            "entries": [names.normal(self._entry(entry, begun_at_ms)) for entry in entries],
            "runs": [names.normal(self._end_of(run_id)) for run_id in run_ids],
        }
        return json.loads(self._without_ports(json.dumps(fixture)))

    def _wait_until_quiet(self) -> None:
        """Nothing is under way and nothing happened for a moment."""

        def is_quiet() -> bool:
            entries = list(self.log.entries)
            requests = sum(entry["kind"] == "request" for entry in entries)
            return requests * 2 == len(entries) and time.time() * 1000 - entries[-1]["at_ms"] > QUIET_S * 1000

        wait_for(is_quiet, "the traffic of a case ends", interval_s=0.05)

    def _of_case(self, name: str, begin: int) -> list[Entry]:
        """The entries of the runs that this case began; our own questions about them are none."""
        segment = [
            self._numbered(entry, index, begin) for index, entry in enumerate(self.log.entries[begin:])
        ]
        foreign = set(self._known_runs)
        if name != "cron":
            foreign |= {
                str(_run_of(entry))
                for entry in segment
                if str(entry.get("query", {}).get("fnId", "")).endswith("-cron")
            }
        dropped: set[int] = set()
        for entry in segment:
            if entry["kind"] != "request":
                continue
            is_question = (
                entry["to"] == "server" and entry["method"] == "GET" and entry["path"].startswith("/v1/")
            )
            is_foreign = _run_of(entry) in foreign or any(run in entry["path"] for run in foreign)
            if name != REGISTRATION:
                is_foreign = is_foreign or entry["method"] == "PUT" or entry["path"] == "/fn/register"
            if is_question or is_foreign:
                dropped.add(entry["number"])
        return [entry for entry in segment if entry.get("of", entry["number"]) not in dropped]

    def _numbered(self, entry: Entry, index: int, begin: int) -> Entry:
        """Counted within the case, so that one recording differs from another only where its case does."""
        of = {"of": entry["of"] - begin} if "of" in entry else {}
        return {**entry, "number": index, **of}

    def _entry(self, entry: Entry, begun_at_ms: int) -> Entry:
        kept = {name: value for name, value in entry.items() if name not in ("headers", "at_ms")}
        return {**kept, "at_ms": entry["at_ms"] - begun_at_ms, "headers": kept_headers(entry["headers"])}

    def _end_of(self, run_id: str) -> dict[str, Any]:
        run = self.server.api.run(run_id)
        return {
            "run_id": run_id,
            "function": self.world.slug_of(run),
            "status": run["status"],
            "output": run["output"],
        }

    def _without_ports(self, text: str) -> str:
        for port, shown in ((self._app_port, APP_PORT), (self._server_port, SERVER_PORT)):
            text = re.sub(rf"(localhost|127\.0\.0\.1):{port}\b", rf"localhost:{shown}", text)
        return text


def _run_of(entry: Entry) -> str | None:
    return entry["headers"].get("x-run-id")


def conduct(case: Case) -> Conduct:
    """Begin a case, wait for its end, and see that it is right."""

    def conducted(world: World) -> None:
        world.begin([case])
        check(case, world.outcome(case))

    return conducted


def extras(sdk: Sdk) -> list[tuple[str, Conduct]]:
    """Cases that are no row of the table."""
    found: list[tuple[str, Conduct]] = [("limited", common.check_limit), ("cron", next_cron)]
    if sdk is not PYTHON:
        found.insert(0, ("send-signal", common.check_sent_signal))
    return found


def next_cron(world: World) -> None:
    common.check_cron(world, after_ms=time.time_ns() // 1_000_000)


def version_of(sdk: Sdk) -> str:
    """The installed version of an SDK."""
    if sdk is not PYTHON:
        return json.loads((sdk.folder / sdk.needs).read_text())["version"]
    (found,) = sdk.folder.glob(".venv/lib/python*/site-packages/inngest-*.dist-info")
    return found.name.removeprefix("inngest-").removesuffix(".dist-info")


def complain_about_paths(text: str, name: str) -> None:
    """A fixture must not know the machine that recorded it."""
    for path in {str(REPOSITORY), str(Path.home()), tempfile.gettempdir()}:
        if path != "/" and f"{path}/" in text:
            start = text.index(f"{path}/")
            raise SystemExit(
                f"{name} names a path of this machine: {text[max(0, start - 100) : start + 100]}"
            )


async def record(sdk: Sdk, folder: Path, *, streamed: bool = False) -> None:
    """Write the fixtures of an app into a folder."""
    with tempfile.TemporaryDirectory() as directory:
        recorder = Recorder(sdk, Path(directory), streamed=streamed)
        for proxy, port in recorder.proxies:
            await proxy.start(port)
        fixtures = recorder.run()
        try:
            while (fixture := await asyncio.to_thread(next, fixtures, None)) is not None:
                name = fixture["case"]
                text = json.dumps(fixture, indent=1, ensure_ascii=False)
                complain_about_paths(text, name)
                (folder / f"{name}.json").write_text(f"{text}\n")
                print(f"{sdk.name}: {name}, {len(fixture['entries'])} entries")
        finally:
            await asyncio.to_thread(fixtures.close)
            for proxy, _ in recorder.proxies:
                await proxy.stop()


def main() -> None:
    sdks = (PYTHON, TYPESCRIPT, TYPESCRIPT_V3)
    wanted = sys.argv[1:] or [sdk.name for sdk in sdks]
    for sdk in sdks:
        if sdk.name not in wanted:
            continue
        folder = FIXTURES / f"{sdk.name.partition('-')[0]}-{version_of(sdk)}"
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        asyncio.run(record(sdk, folder))
        if sdk is PYTHON:
            asyncio.run(record(sdk, folder, streamed=True))


if __name__ == "__main__":
    main()
