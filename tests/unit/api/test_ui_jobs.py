"""Actions on many runs, as the interface asks for them and follows them."""

import asyncio
from itertools import pairwise
from typing import Any

import pytest

from inngest_server.runs.facts import CallFailed, Returned
from inngest_server.wire.times import format_rfc3339
from tests.builders import SECOND_MS, T0_MS, make_ulid
from tests.unit.api.harness import InProcess
from tests.unit.api.test_clock import move, served, world
from tests.unit.apps.bodies import make_function

CREATED = "shop/order.created"
REPLAY = "/api/ui/v1/functions/shop-order/replay"
CANCEL = "/api/ui/v1/functions/shop-order/cancel"
JOBS = "/api/ui/v1/jobs"
FAILURE = CallFailed(b'{"name":"Error","message":"no"}', "function_error", False, None)


async def with_runs(server: InProcess, *answers: Any) -> list[str]:
    """Events whose runs have ended as told, None for not at all; then a second passes."""
    await server.register(make_function())
    ids = await server.send(*({"name": CREATED, "data": {"n": n}} for n in range(len(answers))))
    for number, answer in enumerate(answers):
        call = await server.call(number)
        if answer is not None:
            await server.answer(call, answer)
    server.clock.ms += SECOND_MS
    return ids


async def until_ended(server: InProcess, job_id: str) -> dict[str, Any]:
    for _ in range(2_000):
        job = (await server.get(f"{JOBS}/{job_id}")).json()
        if job["status"] != "running":
            return job
        await asyncio.sleep(0.002)
    raise AssertionError("the job has not ended")


async def runs_of(server: InProcess, event_id: str) -> list[dict[str, Any]]:
    return (await server.get(f"/v1/events/{event_id}/runs")).data


async def test_failed_runs_are_replayed_and_the_progress_is_shown(server: InProcess) -> None:
    event_ids = await with_runs(server, FAILURE, Returned(b"1"), FAILURE)
    wanted = {"name": "fixed", "statuses": ["Failed"], "from": format_rfc3339(T0_MS), "rate_per_s": 0}

    assert (await server.post(f"{REPLAY}?dry_run=true", wanted)).json() == {"count": 2, "is_exact": True}
    assert (await server.get(JOBS)).json() == {"jobs": [], "next": None}

    answer = await server.post(REPLAY, wanted)
    assert answer.status == 202
    job = await until_ended(server, answer.json()["id"])
    assert job | {"id": "", "function_id": ""} == {
        "id": "",
        "kind": "replay",
        "name": "fixed",
        "function": "shop-order",
        "function_id": "",
        "status": "done",
        "created_at": format_rfc3339(T0_MS + SECOND_MS),
        "ended_at": format_rfc3339(T0_MS + SECOND_MS + 1),
        "filter": {
            "from": format_rfc3339(T0_MS),
            "until": format_rfc3339(T0_MS + SECOND_MS + 1),
            "statuses": ["Failed"],
            "if": None,
        },
        "rate_per_s": None,
        "seen": 2,
        "total": 2,
        "affected": 2,
        "undecided": 0,
        "errors": [],
    }
    assert [len(await runs_of(server, one)) for one in event_ids] == [2, 1, 2]


async def test_a_cancel_job_cancels_what_its_preview_counts(server: InProcess) -> None:
    event_ids = await with_runs(server, None, FAILURE, None, None)
    wanted = {"if": "event.data.n > 0"}
    assert (await server.post(f"{CANCEL}?dry_run=1", wanted)).json() == {"count": 2, "is_exact": True}
    assert (await server.post(f"{CANCEL}?dry_run=1")).json() == {"count": 3, "is_exact": True}
    job = (await server.post(CANCEL, wanted)).json()
    assert job["total"] == 3
    done = await until_ended(server, job["id"])
    assert (done["kind"], done["seen"], done["affected"]) == ("cancel", 3, 2)
    found = [(await runs_of(server, one))[0]["status"] for one in event_ids]
    assert found == ["Running", "Failed", "Cancelled", "Cancelled"]


async def test_jobs_are_listed_by_page_kind_and_function(server: InProcess) -> None:
    await server.register(make_function(), make_function(id="shop-audit"))
    ids: list[str] = []
    for number in range(5):
        ids.append((await server.post(CANCEL, {"name": f"{number}"})).json()["id"])
    audit = "/api/ui/v1/functions/shop-audit"
    replay = (await server.post(f"{audit}/replay", {"statuses": ["Failed"]})).json()["id"]

    first = (await server.get(f"{JOBS}?limit=4")).json()
    assert [job["id"] for job in first["jobs"]] == [replay, *ids[:1:-1]]
    second = (await server.get(f"{JOBS}?limit=4&cursor={first['next']}")).json()
    assert ([job["id"] for job in second["jobs"]], second["next"]) == (ids[1::-1], None)
    for query in ("kind=replay", "function=shop-audit"):
        assert [job["id"] for job in (await server.get(f"{JOBS}?{query}")).json()["jobs"]] == [replay]
    assert (await server.get(f"{JOBS}?function=shop-nothing")).json()["jobs"] == []


async def test_a_job_that_waits_for_its_rate_is_stopped(server: InProcess) -> None:
    event_ids = await with_runs(server, *[FAILURE] * 4)
    job = (await server.post(REPLAY, {"statuses": ["Failed"], "rate_per_s": 1})).json()
    await server.call(4)
    answer = await server.delete(f"{JOBS}/{job['id']}")
    assert (answer.status, answer.json()["status"], answer.json()["affected"]) == (200, "deleted", 1)
    assert (await server.delete(f"{JOBS}/{job['id']}")).json() == answer.json()
    assert sorted([len(await runs_of(server, one)) for one in event_ids]) == [1, 1, 1, 2]


@pytest.mark.parametrize(
    ("path", "fields", "text"),
    [
        (REPLAY, {}, "statuses"),
        (REPLAY, {"statuses": []}, "statuses"),
        (REPLAY, {"statuses": "Failed"}, "statuses"),
        (REPLAY, {"statuses": ["Running"]}, "Running"),
        (REPLAY, {"statuses": [[]]}, "cannot be started again"),
        (REPLAY, {"statuses": ["Failed"], "rate_per_s": -1}, "rate_per_s"),
        (REPLAY, {"statuses": ["Failed"], "rate_per_s": 1_001}, "rate_per_s"),
        (REPLAY, {"statuses": ["Failed"], "rate_per_s": True}, "rate_per_s"),
        (REPLAY, {"statuses": ["Failed"], "from": "noon"}, "from"),
        (REPLAY, {"statuses": ["Failed"], "until": format_rfc3339(T0_MS + 60_000)}, "future"),
        (REPLAY, {"statuses": ["Failed"], "name": "x" * 201}, "name"),
        (CANCEL, {"statuses": ["Failed"]}, "statuses"),
        (CANCEL, {"if": "("}, "invalid expression"),
        (CANCEL, {"if": ""}, "if is empty"),
        (f"{CANCEL}?dryrun=true", {}, "there is no parameter 'dryrun'"),
        (f"{CANCEL}?dry_run=yes", {}, "dry_run must be true or false"),
    ],
)
async def test_what_cannot_be_meant_is_refused(
    server: InProcess, path: str, fields: dict[str, Any], text: str
) -> None:
    await server.register(make_function())
    answer = await server.post(path, fields)
    assert answer.status == 400
    assert text in answer.json()["message"]
    assert (await server.get(JOBS)).json()["jobs"] == []


async def test_functions_and_jobs_that_are_not_there_are_404(server: InProcess) -> None:
    await server.register(make_function())
    for path, fields in ((REPLAY, {"statuses": ["Failed"]}), (CANCEL, {})):
        answer = await server.post(path.replace("shop-order", "shop-nothing"), fields)
        assert answer.status == 404
    answer = await server.get(f"{JOBS}/{make_ulid(5)}")
    assert (answer.status, answer.json()["code"]) == (404, "job_not_found")
    assert (await server.delete(f"{JOBS}/{make_ulid(5)}")).status == 404
    assert (await server.get(f"{JOBS}/x")).status == 400
    for query in ("limit=0", "limit=999", "limit=x", "kind=nap", "nothing=1"):
        assert (await server.get(f"{JOBS}?{query}")).status == 400


async def test_a_paused_function_is_not_replayed(server: InProcess) -> None:
    await with_runs(server, FAILURE)
    assert (await server.post("/api/ui/v1/functions/shop-order/pause", {})).status == 200
    answer = await server.post(REPLAY, {"statuses": ["Failed"]})
    assert (answer.status, answer.json()["code"]) == (409, "function_paused")
    assert answer.json()["hint"] == "resume the function, then replay"


async def test_a_clock_that_is_moved_moves_a_replay() -> None:
    def program(call: Any) -> Any:
        return FAILURE if call.run.row.original_run_id is None else Returned(b"1")

    function = served("order", event=CREATED, retries=0)
    async with world(program, function, clock="virtual") as (server, app):
        await server.send(*({"name": CREATED} for _ in range(4)))
        await app.was_called(4)
        await move(server, advance="1h")
        wanted = {"statuses": ["Failed"], "rate_per_s": 1}
        job = (await server.post(REPLAY, wanted)).json()
        await move(server, advance="1m")
        assert (await until_ended(server, job["id"]))["affected"] == 4
        moments = [at_ms for at_ms, _ in app.calls[4:]]
        gaps = [later - earlier for earlier, later in pairwise(moments)]
        assert gaps == [SECOND_MS] * 3
