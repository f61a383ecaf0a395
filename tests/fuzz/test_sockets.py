"""Bytes over a socket against the real process: it answers or closes, keeps its memory, and serves others."""

import http.client
import json
import random
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import ServerProcess

pytestmark = [pytest.mark.integration, pytest.mark.slow]

REQUESTS = 1_500
ANSWER_S = 20.0
GROWTH_BYTES_MAX = 96 * 2**20
"""Above its first requests; a leak of each request's bytes would be several times as much."""

BODY = json.dumps([{"name": "shop/order", "data": {"text": "ä" * 50, "list": [1, 2.5, None]}}]).encode()
REGISTRATION = json.dumps({"appName": "a", "url": "http://127.0.0.1:9/x", "functions": []}).encode()


def request(method: str, path: str, body: bytes = b"", *headers: str) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "host: localhost", f"content-length: {len(body)}", *headers]
    return "\r\n".join([*lines, "", ""]).encode() + body


CORPUS = [
    request("POST", "/e/key", BODY, "content-type: application/json"),
    request("POST", "/e/key", BODY, "x-inngest-event-id-seed: 1700000000000,AAAAAAAAAAAAAA=="),
    request("POST", "/fn/register", REGISTRATION, "content-type: application/json", "x-inngest-sdk: js:v4"),
    request("POST", "/v1/signals", b'{"signal":"a","data":{}}'),
    request("POST", "/invoke/shop-order", b'{"data":{}}'),
    request("GET", "/v1/events?limit=3&cursor=01M7XS225GTVAP6MVYRSN6WH8H"),
    request("GET", "/v1/runs/01M7XS225GTVAP6MVYRSN6WH8H", b"", "authorization: Bearer abc"),
    request("GET", "/metrics"),
    b"POST /e/key HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n2\r\n[{\r\n0\r\n\r\n",
    b"OPTIONS /e/key HTTP/1.1\r\nhost: a\r\norigin: http://b\r\naccess-control-request-method: POST\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-key: x\r\n\r\n",
]  # fmt: skip
PIECES = [
    b"\x00", b"\xff", b"\r", b"\n", b"\r\n", b"\r\n\r\n", b":", b" ", b"\t", b"%", b"%00", b"%ff", b"?", b"#",
    b"//", b"/../", b"HTTP/9.9", b"[" * 3_000, b"1e999", b"a" * 70_000, b"ffffffffffffffff\r\n",
    b"content-length: 99999999999999999999\r\n", b"content-length: -1\r\n", b"expect: 100-continue\r\n",
    b"transfer-encoding: chunked\r\n", b"transfer-encoding: gzip, chunked\r\n", b"host: \xff\r\n",
    b"x: " + b"y" * 9_000 + b"\r\n",
]  # fmt: skip


def mangled(chance: random.Random) -> bytes:
    """A request with a few bytes cut out, repeated or put in; at times with another one behind it."""
    sent = bytearray(chance.choice(CORPUS))
    for _ in range(chance.randint(0, 4)):
        at = chance.randrange(len(sent) + 1)
        end = at + chance.choice((0, 0, 1, 2, 8, 40))
        sent[at:end] = chance.choice([b"", *PIECES, bytes(sent[at:end]) * 3])
    return bytes(sent) + (chance.choice(CORPUS) if chance.random() < 0.2 else b"")


def resident_bytes(server: ServerProcess) -> int:
    status = Path(f"/proc/{server.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServerProcess]:
    with ServerProcess(tmp_path_factory.mktemp("sockets") / "data", "dev", "--no-poll") as started:
        yield started


def exchange(server: ServerProcess, sent: bytes) -> int:
    """The status of the first answer; 0 if the server only closed the connection."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=ANSWER_S) as connection:
        response = http.client.HTTPResponse(connection)
        try:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)  # It is all there is: nobody waits for the rest of a body.
            response.begin()
        except TimeoutError as error:
            raise AssertionError(f"no answer and no end for {sent[:300]!r}") from error
        except (OSError, http.client.HTTPException):
            return 0
        return response.status


@pytest.mark.parametrize("seed", range(4))
def test_mangled_requests_are_answered_or_closed(server: ServerProcess, seed: int) -> None:
    chance = random.Random(seed)
    for _ in range(REQUESTS // 10):
        exchange(server, mangled(chance))
    before, said_before = resident_bytes(server), len(server.log_text())
    for _ in range(REQUESTS // 4):
        sent = mangled(chance)
        status = exchange(server, sent)
        assert status < 500 or status == 501, (status, sent[:300], server.log_text()[said_before:])
    assert server.api.is_healthy()
    assert server.api.send("shop/after")
    assert '"level":"error"' not in server.log_text()[said_before:]
    assert resident_bytes(server) - before < GROWTH_BYTES_MAX
