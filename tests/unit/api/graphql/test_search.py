"""Lists narrowed by an expression."""

from typing import Any

import pytest

from inngest_server.api.graphql import search
from inngest_server.runs.facts import CallFailed, Returned
from tests.unit.api.graphql.operations import EVER, OPERATIONS, RUNS, ask, code_of, do, refusal
from tests.unit.api.harness import InProcess
from tests.unit.apps.bodies import make_function

COUNT = """
query Count($startTime: Time!, $celQuery: String) {
  runs(filter: {from: $startTime, query: $celQuery}, orderBy: []) { totalCount }
}"""


async def fill(server: InProcess, runs: int = 10) -> None:
    await server.register(make_function())
    for n in range(runs):
        server.clock.ms += 1000
        await server.send({"name": "shop/order.created", "data": {"n": n}, "v": "2"})
        call = await server.call(n)
        if n == 3:
            body = b'{"name":"CardError","message":"declined"}'
            error = CallFailed(body, "function_error", retriable=False, retry_after_ms=None)
            await server.answer(call, error)
        elif n % 2:
            await server.answer(call, Returned(b'{"success":true,"total":%d}' % (n * 10)))


async def found(server: InProcess, text: str) -> list[int]:
    """The numbers of the runs that a search finds, in its order."""
    data = await do(server, "GetRuns", **RUNS, celQuery=text)
    ids = [edge["node"]["id"] for edge in data["runs"]["edges"]]
    trigger = [(await do(server, "GetTrigger", runID=run_id))["runTrigger"]["payloads"][0] for run_id in ids]
    numbers = [int(payload.partition('"n":')[2].partition("}")[0]) for payload in trigger]
    count = await do(server, "GetRuns", **RUNS, celQuery=text)
    assert len(count["runs"]["edges"]) == len(numbers)
    return numbers


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("event.data.n == 4", [4]),
        ("event.data.n > 6", [9, 8, 7]),
        ('event.name != "shop/order.created"', []),
        ('event.v == "2" && event.data.n < 2', [1, 0]),
        ("event.data.n > 6\nevent.data.n < 9", [8, 7]),
        ("output.success == true\r\noutput.total >= 70", [9, 7]),
        ('output.name == "CardError"', [3]),
        ("output.success != true", [8, 6, 4, 3, 2, 0]),
        ("event.data.n == 1 || output.total == 90", [9, 1]),
        ("  ", [9, 8, 7, 6, 5, 4, 3, 2, 1, 0]),
    ],
)
async def test_runs_are_found_by_event_and_output(server: InProcess, text: str, numbers: list[int]) -> None:
    await fill(server)

    assert await found(server, text) == numbers


async def test_the_count_is_that_of_the_search(server: InProcess) -> None:
    await fill(server)

    assert (await ask(server, COUNT, startTime=EVER, celQuery="event.data.n > 6"))["runs"]["totalCount"] == 3


async def test_events_are_found(server: InProcess) -> None:
    await fill(server)

    data = await do(server, "GetEventsV2", startTime=EVER, celQuery="event.data.n > 6")
    ended = await do(
        server,
        "GetEventsV2",
        startTime=EVER,
        includeInternalEvents=True,
        celQuery='event.name == "inngest/function.finished" && event.data.result.total == 90',
    )

    assert data["eventsV2"]["totalCount"] == 3
    assert ended["eventsV2"]["totalCount"] == 1


@pytest.mark.parametrize(
    ("text", "position", "reason"),
    [
        ("event.data.n ==", 15, "unexpected_token"),
        ("][", 0, "unexpected_token"),
        ("nothing.x == 1", 0, "unknown_variable"),
        ('event.name == "', 14, "unterminated_text"),
        ("x" * 9000, None, "too_long"),
    ],
)
async def test_an_expression_that_is_none_says_where(
    server: InProcess, text: str, position: int | None, reason: str
) -> None:
    for operation, variables in (("GetRuns", RUNS), ("GetEventsV2", {"startTime": EVER})):
        error = await refusal(server, OPERATIONS[operation], **variables, celQuery=text)

        assert (error["code"], error["reason"]) == ("expression_invalid", reason)
        assert position is None or error["position"] == position


class Hurried:
    """A clock on which every look takes a second."""

    def __init__(self, server: InProcess) -> None:
        self.s = 0.0
        server.virtual.monotonic_s = self.monotonic_s

    def monotonic_s(self) -> float:
        self.s += 1
        return self.s


async def test_a_search_out_of_time_gives_a_part_and_where_to_go_on(server: InProcess) -> None:
    await fill(server)
    Hurried(server)
    pages: list[list[str]] = []
    cursor: str | None = None
    more = True
    while more:
        data = await do(server, "GetRuns", **RUNS, celQuery="event.data.n < 2", functionRunCursor=cursor)
        pages.append([edge["node"]["id"] for edge in data["runs"]["edges"]])
        info: dict[str, Any] = data["runs"]["pageInfo"]
        cursor, more = info["endCursor"], info["hasNextPage"]

    assert pages[0] == []  # The first page ends before it has found anything, and says so.
    assert len(pages) > 2
    assert len([run for page in pages for run in page]) == 2
    assert search.BUDGET_S == 2.0


async def test_a_count_that_would_be_a_guess_is_refused(server: InProcess) -> None:
    await fill(server)
    Hurried(server)

    assert await code_of(server, COUNT, startTime=EVER, celQuery="event.data.n < 2") == "search_incomplete"
