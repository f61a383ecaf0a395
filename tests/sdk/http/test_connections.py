"""The kept connections of checkpoints: every form of an HTTP/1 answer, and what is none."""

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from inngest._http.connections import (
    BODY_BYTES_MAX,
    AsyncConnections,
    BadAnswerError,
    ThreadConnections,
    is_direct,
)

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
DROP = b""


class Wire:
    """Answers each request with the next bytes of a script; `DROP` closes the connection instead."""

    def __init__(self, script: Sequence[bytes]) -> None:
        self.script = list(script)
        self.requests: list[bytes] = []
        self.connections = 0
        self.asked = threading.Event()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        # The client may hang up before it has read everything.
        with contextlib.suppress(OSError), connection, connection.makefile("rb") as reading:
            while True:
                head = b""
                while not head.endswith(b"\r\n\r\n"):
                    line = reading.readline()
                    if not line:
                        return
                    head += line
                sizes = (line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:"))
                length = int(next(sizes)[15:])
                self.requests.append(head + reading.read(length))
                self.asked.set()
                answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
                if answer == DROP:
                    return
                connection.sendall(answer)
                fields = answer.lower()
                if b"connection: close" in fields or not (b"length" in fields or b"chunked" in fields):
                    return

    def close(self) -> None:
        self._listener.close()


@contextlib.contextmanager
def wired(*script: bytes) -> Iterator[Wire]:
    wire = Wire(script)
    try:
        yield wire
    finally:
        wire.close()


class Poster:
    """Posts through either kind of connections."""

    def __init__(self, url: str, *, is_async: bool, timeout_s: float = 30) -> None:
        self._is_async = is_async
        self._of_loop = AsyncConnections(url, timeout_s=timeout_s)
        self._of_threads = ThreadConnections(url, timeout_s=timeout_s)

    async def post(self, content: bytes = b"{}", target: str = "/x?y=1") -> tuple[int, bytes]:
        headers = {"content-type": "application/json", "authorization": "Bearer abc"}
        if self._is_async:
            return await self._of_loop.post(target, headers, content)
        return self._of_threads.post(target, headers, content)

    async def close(self) -> None:
        await self._of_loop.aclose()
        self._of_threads.close()


ANSWERS = {
    "length": (OK, 200, b"ok"),
    "nothing": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b""),
    "no content": (b"HTTP/1.1 204 No Content\r\nx-length: 1\r\n\r\n", 204, b""),
    "chunks": (
        b"HTTP/1.1 409 Conflict\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2;x=y\r\nde\r\n0\r\n\r\n",
        409,
        b"abcde",
    ),
    "trailers": (
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\nx: y\r\nz: 1\r\n\r\n",
        200,
        b"a",
    ),
    "until the end": (b"HTTP/1.1 500 Oh No\r\n\r\nbroken", 500, b"broken"),
    "of version 1.0": (b"HTTP/1.0 200 OK\r\n\r\nold", 200, b"old"),
    "closing": (b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
    "without a reason": (b"HTTP/1.1 200\r\ncontent-length: 2\r\n\r\nok", 200, b"ok"),
}


@pytest.mark.parametrize("form", ANSWERS)
async def test_an_answer_is_read_in_each_of_its_forms(form: str, is_async: bool) -> None:
    sent, status, body = ANSWERS[form]
    with wired(sent) as wire:
        poster = Poster(wire.url, is_async=is_async)

        assert await poster.post() == (status, body)
        assert await poster.post() == (status, body)
        await poster.close()


async def test_hints_before_the_answer_are_skipped() -> None:
    with wired(b"HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n" + OK) as wire:
        poster = Poster(wire.url, is_async=True)

        assert await poster.post() == (200, b"ok")
        await poster.close()


@pytest.mark.parametrize("form", ["length", "nothing", "chunks", "trailers"])
async def test_a_connection_is_kept_after_a_whole_answer(form: str, is_async: bool) -> None:
    with wired(ANSWERS[form][0]) as wire:
        poster = Poster(wire.url, is_async=is_async)
        for _ in range(3):
            await poster.post()
        await poster.close()

        assert wire.connections == 1


async def test_a_request_says_where_to_and_how_much(is_async: bool) -> None:
    with wired(OK) as wire:
        poster = Poster(wire.url, is_async=is_async)
        await poster.post(b'{"a":1}')
        await poster.close()

        head, _, body = wire.requests[0].partition(b"\r\n\r\n")
        first, *lines = head.lower().split(b"\r\n")
        assert first == b"post /x?y=1 http/1.1"
        assert f"host: {wire.url[7:]}".encode() in lines
        assert b"content-length: 7" in lines
        assert b"authorization: bearer abc" in lines
        assert body == b'{"a":1}'


@pytest.mark.parametrize(
    "sent",
    [
        b"SSH-2.0-OpenSSH_9.6\r\n\r\n",
        b"HTTP/1.1 abc\r\ncontent-length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 99\r\nconnection: close\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\nxyz\r\n",
    ],
)
async def test_what_is_no_answer_is_an_error_of_the_network(sent: bytes, is_async: bool) -> None:
    with wired(sent) as wire:
        poster = Poster(wire.url, is_async=is_async)

        with pytest.raises(OSError):  # noqa: PT011 (Which one depends on where it breaks.)
            await poster.post()
        await poster.close()


async def test_an_endless_head_is_not_read_to_its_end() -> None:
    with wired(b"HTTP/1.1 200 OK\r\nx: " + b"y" * 200_000 + b"\r\ncontent-length: 0\r\n\r\n") as wire:
        poster = Poster(wire.url, is_async=True)

        with pytest.raises(BadAnswerError):
            await poster.post()


async def test_a_body_beyond_all_bounds_is_refused_unread() -> None:
    with wired(f"HTTP/1.1 200 OK\r\ncontent-length: {BODY_BYTES_MAX + 1}\r\n\r\n".encode()) as wire:
        poster = Poster(wire.url, is_async=True)

        with pytest.raises(BadAnswerError, match="its body has"):
            await poster.post()


async def test_a_kept_connection_that_died_is_replaced_at_once(is_async: bool) -> None:
    with wired(OK, DROP, OK) as wire:
        poster = Poster(wire.url, is_async=is_async)

        assert await poster.post() == (200, b"ok")
        assert await poster.post() == (200, b"ok")
        await poster.close()

        assert (wire.connections, len(wire.requests)) == (2, 3)


async def test_a_new_connection_that_dies_is_an_error(is_async: bool) -> None:
    with wired(DROP) as wire:
        poster = Poster(wire.url, is_async=is_async)

        with pytest.raises(OSError):  # noqa: PT011 (Reset, or ended too early.)
            await poster.post()
        assert wire.connections == 1


async def test_nobody_who_listens_is_an_error(is_async: bool) -> None:
    with pytest.raises(ConnectionRefusedError):
        await Poster("http://127.0.0.1:1", is_async=is_async).post()


@pytest.mark.parametrize(
    ("variables", "is_used"),
    [
        ({}, True),
        ({"HTTP_PROXY": "http://proxy:1"}, False),
        ({"ALL_PROXY": "http://proxy:1"}, False),
        ({"HTTPS_PROXY": "http://proxy:1"}, True),
        ({"NO_PROXY": "other"}, True),
        ({"HTTP_PROXY": "http://proxy:1", "NO_PROXY": "server.test"}, True),
    ],
)
def test_a_proxy_is_left_to_the_general_client(
    variables: dict[str, str], is_used: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name.lower(), value)

    assert is_direct("http://server.test:8288") is is_used


async def test_no_answer_in_time_is_an_error(is_async: bool) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"

        with pytest.raises(TimeoutError):
            await Poster(url, is_async=is_async, timeout_s=0.05).post()


@pytest.fixture
def certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Of 127.0.0.1, trusted as the environment says."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("openssl, which makes a certificate, is not installed")
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    name = ["-days", "2", "-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, *files, *name], check=True, capture_output=True)
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    return tmp_path


async def test_a_secure_server_is_called_securely(
    certificate: Path, is_async: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate / "cert.pem", certificate / "key.pem")

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                await reader.readuntil(b"\r\n\r\n{}")
                writer.write(OK)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=tls)
    url = f"https://127.0.0.1:{server.sockets[0].getsockname()[1]}"

    async def post() -> tuple[int, bytes]:
        poster = Poster(url, is_async=is_async)
        try:
            return await poster.post()
        finally:
            await poster.close()

    # The blocking half must not block the loop that answers it.
    answered = await post() if is_async else await asyncio.to_thread(asyncio.run, post())
    monkeypatch.delenv("SSL_CERT_FILE")
    with pytest.raises(ssl.SSLCertVerificationError):
        await post() if is_async else await asyncio.to_thread(asyncio.run, post())
    server.close()

    assert answered == (200, b"ok")


async def test_many_at_once_have_a_connection_each(is_async: bool) -> None:
    with wired(OK) as wire:
        poster = Poster(wire.url, is_async=True)
        answers = await asyncio.gather(*(poster.post() for _ in range(10)))
        await poster.close()

        assert answers == [(200, b"ok")] * 10
        assert 1 < wire.connections <= 10


async def test_a_cancelled_call_does_not_give_its_connection_to_the_next(is_async: bool) -> None:
    """Or the next call would read the answer to this one."""
    with wired(b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nlate", OK) as wire:  # One byte never comes.
        poster = Poster(wire.url, is_async=True)
        task = asyncio.create_task(poster.post())
        await asyncio.to_thread(wire.asked.wait, 30)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

        assert await poster.post() == (200, b"ok")
        assert wire.connections == 2
        await poster.close()
