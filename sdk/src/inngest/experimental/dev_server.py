"""A real server for integration tests: `inngest dev` in a process of its own.

    # conftest.py
    from inngest.experimental import dev_server

    def pytest_configure(config):
        dev_server.server.start()

    def pytest_unconfigure(config):
        dev_server.server.stop()

The server keeps nothing and looks for no apps: send a `PUT` to the app's endpoint to register it. It listens
on port 8288, where clients in dev mode look for it. Variables, read by `start`:

    DEV_SERVER_ENABLED=0    start and stop do nothing, for example because a server runs already
    DEV_SERVER_PORT         another port; 0 takes a free one
    DEV_SERVER_LOGS=1       the server's log goes to standard error
"""

from __future__ import annotations

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import IO, Final

from inngest.errors import Error

__all__ = ["DevServer", "DevServerError", "server"]

HOST: Final = "127.0.0.1"
DEFAULT_PORT: Final = 8288
"""Where clients in dev mode look for a server that nobody named."""

START_MAX_S: Final = 30.0
STOP_MAX_S: Final = 10.0
_OFF: Final = frozenset({"0", "false", "no", "off"})


class DevServerError(Error):
    """The server could not be started."""

    code = "dev_server_failed"
    is_retriable = False


class DevServer:
    """One server process. `start` and `stop` may be called again; a second `start` does nothing."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._log: IO[bytes] | None = None
        self._port: int | None = None
        self._changed_variable: tuple[str | None] | None = None

    @property
    def port(self) -> int:
        """The port of the running server; before that, the one that `start` would take (0: any)."""
        return _port_of_environment() if self._port is None else self._port

    @property
    def origin(self) -> str:
        return f"http://{HOST}:{self.port}"

    def start(self) -> None:
        """Start the server and wait until it answers.

        On a port other than 8288, `INNGEST_DEV` is set to the server's URL until `stop`, unless it names a
        server already, or is off; clients read it when they are made.

        Raises:
            DevServerError: the command is not installed, the port is taken, or the server did not come up.
        """
        if self._process is not None or os.environ.get("DEV_SERVER_ENABLED", "1").lower() in _OFF:
            return
        command = find_command()
        self._port = _free_port(_port_of_environment())
        wants_logs = os.environ.get("DEV_SERVER_LOGS", "0").lower() not in _OFF
        self._log = None if wants_logs else tempfile.TemporaryFile()  # noqa: SIM115  # `stop` closes it.
        try:
            # Whatever the shell says about the server (INNGEST_PORT, ...) loses against flags.
            arguments = [
                "--host",
                HOST,
                "--port",
                str(self._port),
                "--no-discovery",
                "--no-poll",
                "--in-memory",
            ]
            self._process = subprocess.Popen(
                [command, "dev", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=2 if self._log is None else self._log,
                stderr=subprocess.STDOUT,
            )
            atexit.register(self.stop)
            self._wait_until_healthy(self._process, self._port)
        except BaseException:
            self.stop()
            raise
        self._point_clients_here(self._port)

    def stop(self) -> None:
        """Stop the server and wait until it has ended."""
        process, self._process = self._process, None
        if process is not None:
            atexit.unregister(self.stop)
            process.terminate()
            try:
                process.wait(STOP_MAX_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._log is not None:
            self._log.close()
        self._log = self._port = None
        if self._changed_variable is not None:
            (before,) = self._changed_variable
            self._changed_variable = None
            if before is None:
                os.environ.pop("INNGEST_DEV", None)
            else:
                os.environ["INNGEST_DEV"] = before

    def _wait_until_healthy(self, process: subprocess.Popen[bytes], port: int) -> None:
        deadline = time.monotonic() + START_MAX_S
        while not _is_healthy(port):
            status = process.poll()
            if status is not None:
                raise DevServerError(f"the server ended at once, with status {status}{self._last_lines()}")
            if time.monotonic() > deadline:
                raise DevServerError(
                    f"the server did not answer on port {port} within {START_MAX_S:g} "
                    f"seconds{self._last_lines()}"
                )
            time.sleep(0.02)

    def _last_lines(self) -> str:
        if self._log is None:
            return "; its log is above"
        self._log.seek(0)
        lines = self._log.read().decode(errors="replace").splitlines()[-15:]
        return ". It said:\n" + "\n".join(lines) if lines else " and without a word"

    def _point_clients_here(self, port: int) -> None:
        before = os.environ.get("INNGEST_DEV")
        is_open = before is None or ("://" not in before and before.lower() not in _OFF)
        if port != DEFAULT_PORT and is_open:
            self._changed_variable = (before,)
            os.environ["INNGEST_DEV"] = self.origin


server: Final = DevServer()
"""The server of this process."""


def find_command() -> str:
    """The path of the `inngest` command: beside this interpreter, else on PATH.

    Raises:
        DevServerError: there is none.
    """
    beside = shutil.which("inngest", path=str(Path(sys.executable).parent))
    found = beside or shutil.which("inngest")
    if found is None:
        raise DevServerError(
            f"there is no command `inngest` beside {sys.executable} or on PATH. It belongs to the "
            "distribution inngest-server: install that into this environment, from a wheel or with "
            "`pip install ./server` in a checkout of the repository"
        )
    return found


def _port_of_environment() -> int:
    text = os.environ.get("DEV_SERVER_PORT", str(DEFAULT_PORT))
    if not text.isdigit() or int(text) > 65535:
        raise DevServerError(f"DEV_SERVER_PORT is {text!r}, but a port is a number from 0 to 65535")
    return int(text)


def _free_port(wanted: int) -> int:
    with socket.socket() as probe:
        if os.name == "posix":
            # As servers do: a port whose last connections are closing counts as free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, wanted))
        except OSError as error:
            raise DevServerError(
                f"port {wanted} is taken ({error.strerror}): stop the server that listens there, set "
                "DEV_SERVER_ENABLED=0 to test against it, or DEV_SERVER_PORT=0 to take a free port"
            ) from error
        return probe.getsockname()[1]


def _is_healthy(port: int) -> bool:
    connection = HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except (OSError, HTTPException):
        return False
    finally:
        connection.close()
