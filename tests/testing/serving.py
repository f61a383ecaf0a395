"""Scripted apps behind a socket, as other processes and languages are reached."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from socketserver import ThreadingMixIn
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from tests.testing.apps import App


class _Server(ThreadingMixIn, WSGIServer):
    daemon_threads = True


class _Quiet(WSGIRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def served(app: App) -> Iterator[str]:
    """The address at which the app is served, while it is."""
    server = _Server(("127.0.0.1", 0), _Quiet)
    server.set_app(app.wsgi)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/api/inngest"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
