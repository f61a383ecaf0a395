"""Reading bodies and writing answers."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from inngest_server.api.replies import Pace, Receive, RequestRejectedError, read_body, reply


def receiving(messages: Iterable[dict[str, Any]]) -> Receive:
    """Gives those messages, and then nothing for ever."""
    waiting = list(messages)

    async def receive() -> dict[str, Any]:
        if not waiting:
            await asyncio.Event().wait()
        return waiting.pop(0)

    return receive


def part(body: bytes, *, more: bool) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_put_together_from_its_parts() -> None:
    parts = [part(b"a", more=True), {"type": "http.request", "more_body": True}, part(b"b", more=False)]

    assert await read_body(receiving(parts)) == b"ab"
    assert await read_body(receiving([{"type": "http.request"}])) == b""


@pytest.mark.parametrize("parts", [[], [part(b"{", more=True)]])
async def test_a_client_that_never_sends_its_body_is_not_waited_for(
    parts: list[dict[str, Any]],
) -> None:
    with pytest.raises(RequestRejectedError) as refused:
        await read_body(receiving(parts), pace=Pace(silence_s=0.01))

    assert (refused.value.status, refused.value.code) == (408, "request_timeout")


@pytest.mark.parametrize(
    ("elapsed_s", "received", "patience_s"),
    [(0, 0, 30), (30, 0, 0), (29, 100_000, 30), (40, 1000, -9), (60, 1000, -29), (60, 1000 * 1000, 30)],
)
def test_a_body_must_keep_its_pace(elapsed_s: float, received: int, patience_s: float) -> None:
    assert Pace(silence_s=30, bytes_per_s=1000).patience_s(elapsed_s, received) == patience_s


async def test_a_body_that_trickles_is_not_waited_for() -> None:
    """Never silent for long, and too slow all the same."""

    async def receive() -> dict[str, Any]:
        await asyncio.sleep(0.001)
        return part(b"x", more=True)

    with pytest.raises(RequestRejectedError) as refused:
        await read_body(receive, pace=Pace(silence_s=0.05, bytes_per_s=10**9))

    assert refused.value.status == 408


@pytest.mark.parametrize("parts", [[], [part(b"{", more=True)]])
async def test_a_body_of_a_client_that_went_away_is_not_used(parts: list[dict[str, Any]]) -> None:
    """Not even an empty one: it would be an empty request."""
    with pytest.raises(RequestRejectedError) as refused:
        await read_body(receiving([*parts, {"type": "http.disconnect"}]))

    assert refused.value.status == 400


@pytest.mark.parametrize("sizes", [[11], [5, 6], [5, 5, 1]])
async def test_no_more_is_read_than_the_limit_allows(sizes: list[int]) -> None:
    parts = [part(b"x" * size, more=True) for size in sizes]

    with pytest.raises(RequestRejectedError) as refused:
        await read_body(receiving(parts), 10)

    assert refused.value.status == 413
    assert await read_body(receiving([part(b"x" * 10, more=False)]), 10) == b"x" * 10


@pytest.mark.parametrize(("status", "length"), [(200, b"0"), (204, None)])
async def test_only_an_answer_that_may_have_a_body_says_how_long_it_is(
    status: int, length: bytes | None
) -> None:
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    await reply(send, status, b"", ())

    assert dict(sent[0]["headers"]).get(b"content-length") == length
