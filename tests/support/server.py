"""A real server process on a free port of the loopback interface."""

import sys
from collections.abc import Mapping
from pathlib import Path

from tests.support.api import Api
from tests.support.processes import Process, free_port

COMMAND = Path(sys.executable).parent / "inngest"


class ServerProcess(Process):
    """`inngest dev` or `inngest start`; use it as a context manager, which waits until it is healthy.

        with ServerProcess(tmp_path, "dev", "--retry-interval", "1") as server:
            server.api.send("shop/order.placed")

    The database stays in the directory, so a server that was killed can be started again on the same port.
    """

    def __init__(
        self,
        directory: Path,
        mode: str,
        *options: str,
        port: int | None = None,
        env: Mapping[str, str] | None = None,
        signing_key: str | None = None,
        event_key: str | None = None,
    ) -> None:
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        directory.mkdir(parents=True, exist_ok=True)
        self.database = directory / "main.db"
        keys = {"INNGEST_SIGNING_KEY": signing_key, "INNGEST_EVENT_KEY": event_key}
        argv = [COMMAND, mode, "--host", "127.0.0.1", "--port", str(self.port), "--sqlite-dir", directory]
        if mode == "dev":
            argv.append("--no-discovery")  # What else listens on this machine is no business of a test.
        super().__init__(
            [*argv, *options],
            log=directory / "server.log",
            env={**{name: key for name, key in keys.items() if key}, **(env or {})},
        )
        self.api = Api(self.url, signing_key=signing_key, event_key=event_key or "test")

    def start(self) -> "ServerProcess":
        """Start it and wait until it is healthy."""
        super().start()
        try:
            self.wait_until(self.api.is_healthy, f"the server on port {self.port} is healthy")
        except BaseException:
            if self.is_running:
                self.kill()
            raise
        return self
