"""Child processes of tests, and waiting for a fact instead of sleeping."""

import os
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[2]
LOG_SHOWN_CHARS = 4000


def free_port() -> int:
    """A port of the loopback interface on which nothing listens now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def wait_for(
    find: Callable[[], T | None], what: str, *, timeout_s: float = 20.0, interval_s: float = 0.02
) -> T:
    """Ask until the answer is neither None nor False; what it was then.

    Raises:
        AssertionError: it did not happen in time; the message says what was waited for.
    """
    deadline_s = time.monotonic() + timeout_s
    while True:
        found = find()
        if found is not None and found is not False:
            return found
        if time.monotonic() >= deadline_s:
            raise AssertionError(f"waited {timeout_s:g} s in vain for {what}")
        time.sleep(interval_s)


class Process:
    """A child with an environment without our own INNGEST_ variables; always ended by its id."""

    def __init__(
        self,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        self.argv = [str(part) for part in argv]
        self.log = log
        self._cwd = cwd
        kept = {name: value for name, value in os.environ.items() if not name.startswith("INNGEST_")}
        self._env = {**kept, **(env or {})}
        self._child: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int:
        assert self._child is not None, f"{self.argv[0]} was not started"
        return self._child.pid

    @property
    def is_running(self) -> bool:
        return self._child is not None and self._child.poll() is None

    def start(self) -> Self:
        """Start it, or start it again; its output is appended to the log."""
        assert not self.is_running, f"{self.argv[0]} runs already"
        with self.log.open("ab") as log:
            self._child = subprocess.Popen(
                self.argv, cwd=self._cwd, env=self._env, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        return self

    def stop(self, timeout_s: float = 15.0) -> int:
        """Ask it to end, wait, and return its exit code; kill it if it does not end in time."""
        assert self._child is not None
        self._child.terminate()
        try:
            return self._child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return self.kill()

    def kill(self) -> int:
        """End it at once, as a power failure would."""
        assert self._child is not None
        self._child.kill()
        return self._child.wait()

    def wait_until(self, is_ready: Callable[[], bool], what: str, *, timeout_s: float = 20.0) -> None:
        """Wait for a sign of life.

        Raises:
            AssertionError: it ended or took too long; the message has the end of its log.
        """

        def ready_or_dead() -> bool:
            return not self.is_running or is_ready()

        try:
            wait_for(ready_or_dead, what, timeout_s=timeout_s)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.log_end()}") from error
        assert self.is_running, f"{' '.join(self.argv)} ended before {what}:\n{self.log_end()}"

    def log_text(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def log_end(self) -> str:
        return self.log_text()[-LOG_SHOWN_CHARS:]

    def __enter__(self) -> Self:
        return self.start() if self._child is None else self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self.is_running:
            self.stop()
