"""Reading bodies and writing answers."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from inngest_server.api import replies
from inngest_server.api.replies import Receive, RequestRejectedError, read_body, reply


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
    monkeypatch: pytest.MonkeyPatch, parts: list[dict[str, Any]]
) -> None:
    monkeypatch.setattr(replies, "BODY_TIMEOUT_S", 0.01)

    with pytest.raises(RequestRejectedError) as refused:
        await read_body(receiving(parts))

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
