"""Clients that keep a connection and do not say what they want. Real sockets, with bounds of milliseconds."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import uvicorn
from uvicorn.server import ServerState

from inngest_server.api.connections import HEAD_BYTES_MAX, Connection, bounded
from inngest_server.api.replies import Receive, Scope, Send, read_body, reply

pytestmark = pytest.mark.integration

TIMEOUT_S = 20.0
HEAD = b"POST /e/k HTTP/1.1\r\nhost: localhost\r\n"


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    """Answers a body with itself; at `/slow` only when the gate is open."""
    body = await read_body(receive)
    if scope["path"] == "/slow":
        await GATE[0].wait()
    await reply(send, 200, body or b"none")


GATE: list[asyncio.Event] = []


@asynccontextmanager
async def serving(*, head_timeout_s: float = 0.05, connections_max: int = 100) -> AsyncIterator[int]:
    GATE[:] = [asyncio.Event()]
    app: Any = echo
    config = uvicorn.Config(
        app, ws="none", lifespan="off", log_config=None, access_log=False, timeout_keep_alive=int(TIMEOUT_S)
    )
    config.load()
    kind = bounded(connections_max)
    kind.head_timeout_s = head_timeout_s
    state = ServerState()

    def make() -> Connection:
        return kind(config=config, server_state=state, app_state={})

    loop = asyncio.get_running_loop()
    server = await loop.create_server(make, "127.0.0.1", 0)
    try:
        async with asyncio.timeout(TIMEOUT_S):
            yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for connection in list(state.connections):
            connection.shutdown()


async def said(port: int, *sent: bytes) -> bytes:
    """What the server says until it hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for part in sent:
        writer.write(part)
        await writer.drain()
    answer = await reader.read()
    writer.close()
    return answer


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def body_of(answer: bytes) -> Any:
    return json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.mark.parametrize("sent", [b"P", HEAD, HEAD + b"x-a: "])
async def test_headers_that_do_not_end_in_time_are_answered_with_408(sent: bytes) -> None:
    async with serving() as port:
        answer = await said(port, sent)

    assert status_of(answer) == 408
    assert (body_of(answer)["status"], body_of(answer)["code"]) == (408, "request_timeout")


async def test_a_connection_on_which_nothing_is_asked_is_closed() -> None:
    async with serving() as port:
        assert await said(port) == b""


async def test_blank_lines_do_not_keep_a_connection() -> None:
    """The parser skips them, and uvicorn's own timer of idle connections ends with the first."""
    async with serving() as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(HEAD + b"content-length: 2\r\n\r\nhi")
        await reader.readuntil(b"\r\n\r\nhi")
        writer.write(b"\r\n")

        assert await reader.read() == b""
        writer.close()


async def test_a_second_request_must_come_in_time_too() -> None:
    whole = HEAD + b"content-length: 2\r\n\r\nhi"
    async with serving() as port:
        answer = await said(port, whole, HEAD)

    assert answer.count(b"HTTP/1.1 200") == 1
    assert b"HTTP/1.1 408" in answer
    assert answer.index(b"HTTP/1.1 200") < answer.index(b"HTTP/1.1 408")


async def test_a_request_that_is_served_is_not_cut_off() -> None:
    """However long that takes, and also when the head of the next one is there in part."""
    slow = b"POST /slow HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n"
    async with serving(head_timeout_s=0.02) as port:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(slow + b"POST /e/k HT")
        await asyncio.sleep(0.1)  # Several times the bound passes.
        GATE[0].set()
        answer = await reader.readuntil(b"none")
        writer.close()

    assert status_of(answer) == 200


async def test_headers_that_are_too_large_are_answered_with_431() -> None:
    async with serving(head_timeout_s=TIMEOUT_S) as port:
        answer = await said(port, HEAD + b"x-a: " + b"a" * HEAD_BYTES_MAX)

    assert (status_of(answer), body_of(answer)["code"]) == (431, "head_too_large")


async def test_one_connection_too_many_is_told_to_come_again_and_the_others_stay() -> None:
    async with serving(head_timeout_s=TIMEOUT_S, connections_max=2) as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]

        refused = await said(port)
        for reader, writer in held:
            writer.write(HEAD + b"content-length: 2\r\n\r\nhi")
            assert status_of(await reader.readuntil(b"hi")) == 200
            writer.close()

    assert status_of(refused) == 503
    assert b"retry-after: 1" in refused
    assert body_of(refused)["ids"] == []
    assert body_of(refused)["code"] == "too_many_connections"


async def test_room_that_was_left_is_given_to_others() -> None:
    async with serving(connections_max=1) as port:
        for _ in range(3):
            whole = HEAD + b"connection: close\r\ncontent-length: 0\r\n\r\n"
            answer = await said(port, whole)
            while status_of(answer) == 503:  # The last one is not gone yet.
                answer = await said(port, whole)
            assert status_of(answer) == 200
