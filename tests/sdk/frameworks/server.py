"""A server that only takes registrations, and remembers them."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

import inngest


class Registered(NamedTuple):
    """One POST /fn/register."""

    target: str
    headers: dict[str, str]
    body: dict[str, Any]


class FakeServer:
    """Listens on loopback; `registrations` are in the order of their arrival."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.registrations: list[Registered] = []
        self.clients: list[inngest.Inngest] = []
        """The clients of this test, to be closed at its end."""

    def client(self, *, app_id: str = "contract", **options: Any) -> inngest.Inngest:
        """A client in dev mode that knows this server, and answers each step with its own request."""
        settings: dict[str, Any] = {"is_production": False, "base_url": self.url, "checkpointing": False}
        client = inngest.Inngest(app_id=app_id, **{**settings, **options})
        self.clients.append(client)
        return client


@contextlib.contextmanager
def running() -> Iterator[FakeServer]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            headers = {name.lower(): value for name, value in self.headers.items()}
            fake.registrations.append(Registered(self.path, headers, body))
            answer = b'{"ok":true,"modified":true}'
            self.send_response(200)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, format: str, *args: Any) -> None:
            """Nothing: the tests look at `registrations`."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.block_on_close = False
        fake = FakeServer(server.server_address[1])
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield fake
        finally:
            server.shutdown()
            thread.join()
