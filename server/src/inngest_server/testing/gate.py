"""Asks an app to follow histories, over whatever transport reaches it."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from inngest_server.apps.app_error import app_error_from_transport
from inngest_server.clock import Clock, SystemClock
from inngest_server.execution.answers import read_answer, too_large, transport_failed
from inngest_server.execution.transport import ResponseTooLargeError, Transport, TransportError
from inngest_server.runs.facts import Answer
from inngest_server.testing.follow import DIFFERS, FOLLOWS, UNASKED, Verdict, follow
from inngest_server.traces.exported import BadHistoryError, ExportedRun, from_json
from inngest_server.wire import json
from inngest_server.wire.limits import RESPONSE_BYTES_MAX
from inngest_server.wire.signature import sign

AT_ONCE = 8
"""Runs that are followed at a time."""
TIMEOUT_S = 60.0
MARKS = {FOLLOWS: "ok", DIFFERS: "DIFFERS", UNASKED: "NOT ASKED"}
FUNCTION_ID = "00000000-0000-4000-a000-000000000000"
"""Go reads a UUID there."""


def read_histories(text: str, origin: str) -> list[ExportedRun]:
    """The histories of a file: one JSON object a line.

    Raises:
        BadHistoryError: a line is none; the message names it.
    """
    return list(_read(text.splitlines(), origin))


def read_history_file(path: Path) -> list[ExportedRun]:
    """As `read_histories`.

    Raises:
        BadHistoryError, OSError
    """
    return read_histories(path.read_text(encoding="utf-8"), str(path))


def _read(lines: Iterable[str], origin: str) -> Iterator[ExportedRun]:
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            yield from_json(json.parse_kept(line.encode()))
        except (json.InvalidJSONError, BadHistoryError, ValueError) as error:
            raise BadHistoryError(f"{origin} line {number}: {error}") from error


def lines_of(verdicts: Sequence[Verdict]) -> Iterator[str]:
    """What people read: a line for each run, what differs below it, and how many there are of each."""
    for verdict in verdicts:
        yield f"{MARKS[verdict.outcome]:<9}  {verdict.run_id}  {verdict.function}"
        said = [verdict.difference.message] if verdict.difference is not None else []
        said += [*verdict.detail.splitlines()[:10], *(f"note: {note}" for note in verdict.notes)]
        yield from (f"           {_printable(line)}" for line in said)
    counts = {outcome: sum(one.outcome == outcome for one in verdicts) for outcome in MARKS}
    yield ""
    yield (
        f"{counts[FOLLOWS]} of {len(verdicts)} runs follow; {counts[DIFFERS]} differ; "
        f"{counts[UNASKED]} could not be asked"
    )


def _printable(line: str) -> str:
    """Names are the users' own: they may not break the line or move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in line)


class Gate:
    """An app under a URL, asked by a transport."""

    def __init__(
        self,
        transport: Transport,
        url: str,
        *,
        signing_key: str | None = None,
        compares_output: bool = False,
        clock: Clock | None = None,
    ) -> None:
        self._transport = transport
        self._url = url
        self._signing_key = signing_key
        self._compares_output = compares_output
        self._clock = clock or SystemClock()

    async def follow_all(self, runs: Sequence[ExportedRun]) -> list[Verdict]:
        """A verdict for each run, in their order."""
        room = asyncio.Semaphore(AT_ONCE)

        async def one(run: ExportedRun) -> Verdict:
            async with room:
                return await self.follow(run)

        return await asyncio.gather(*[one(run) for run in runs])

    async def follow(self, run: ExportedRun) -> Verdict:
        """Whether the app's code follows the history of a run. No step is executed."""
        path = follow(run, compares_output=self._compares_output)
        try:
            given = next(path)
            while True:
                given = path.send(await self._ask(run, given))
        except StopIteration as end:
            verdict: Verdict = end.value
            if verdict.outcome == UNASKED and not verdict.detail:
                verdict.detail = f"the app at {self._url} did not answer"
            return verdict

    async def _ask(self, run: ExportedRun, given: int) -> Answer:
        # As the server does it: what is not signed keeps the order of its keys.
        fields = _request(run, given)
        body = json.dumps_kept(fields) if self._signing_key is None else json.canonical(fields, "exact")
        headers = {
            "Content-Type": "application/json",
            "X-Inngest-Server-Kind": "dev" if self._signing_key is None else "cloud",
            "x-inngest-req-version": "-1",
            "X-Inngest-Step-ID": "step",
            "X-Run-ID": run.run_id,
        }
        if self._signing_key is not None:
            headers["X-Inngest-Signature"] = sign(
                json.canonical(fields), self._signing_key, self._clock.host_s()
            )
        query = urlencode({"fnId": run.function, "stepId": "step"})
        url = f"{self._url}{'&' if urlsplit(self._url).query else '?'}{query}"
        try:
            response = await self._transport.send(
                "POST", url, headers, body, timeout_s=TIMEOUT_S, body_bytes_max=RESPONSE_BYTES_MAX
            )
        except TransportError as error:
            known = app_error_from_transport(error.kind, self._url, error.detail)
            return transport_failed(known.code, known.message.removeprefix(f"{known.code}: "))
        except ResponseTooLargeError:
            return too_large()
        return read_answer(response.status, response.headers, response.body, self._clock.now_ms())


def _request(run: ExportedRun, given: int) -> dict[str, Any]:
    """The body of a call request with the first results. Source: protocol 3.2.

    It has no reference to a queue item, without which SDKs send no checkpoints.
    """
    steps = run.steps[:given]
    return {
        "ctx": {
            "attempt": 0,
            "disable_immediate_execution": True,
            "env": "",
            "fn_id": FUNCTION_ID,
            "max_attempts": 4,
            "qi_id": "",
            "run_id": run.run_id,
            "stack": {"current": given, "stack": [step.id for step in steps]},
            "step_id": "step",
            "use_api": False,
        },
        "defers": {},
        "event": run.events[0],
        "events": run.events,
        "steps": {step.id: step.memo for step in steps},
        "use_api": False,
        "version": -1,
    }
