"""The lock on a data directory: one server at a time, and a name for the one that has it.

The lock is the kernel's (`flock`), so it ends with its process however that ends. The file's text says
who holds it and is emptied by a clean stop: text in a file that nobody has locked is from a server that
was killed.
"""

import contextlib
import fcntl
import json
import os
from datetime import UTC, datetime
from pathlib import Path

from inngest_server.storage.protocol import StorageUnavailableError

FILE_NAME = "lock"


class DirectoryLock:
    """Held from `take` to `release`."""

    def __init__(self, directory: Path, url: str) -> None:
        self._directory = directory
        self._url = url
        self._file: int | None = None
        self.was_unclean = False
        """Whether the holder before us stopped without releasing it."""

    @property
    def is_held(self) -> bool:
        return self._file is not None

    def take(self) -> None:
        """Make the directory if need be, and lock it.

        Raises:
            StorageUnavailableError: another server has it, or it cannot be made.
        """
        try:
            _make_directory(self._directory)
            file = os.open(self._directory / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StorageUnavailableError(
                f"data directory {self._directory} cannot be used: {error.strerror}"
            ) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = _holder(file)
            os.close(file)
            raise StorageUnavailableError(
                f"data directory {self._directory} is in use by {holder}; "
                "stop that server, or give this one another --sqlite-dir"
            ) from error
        self.was_unclean = os.fstat(file).st_size > 0
        self._file = file
        started_at = datetime.now(UTC).isoformat(timespec="seconds")
        self._write(json.dumps({"pid": os.getpid(), "started_at": started_at, "url": self._url}))

    def release(self, *, is_clean: bool) -> None:
        """Let the next server in; `is_clean` says that the database was closed without an error."""
        if self._file is None:
            return
        if is_clean:
            self._write("")
        os.close(self._file)
        self._file = None

    def _write(self, text: str) -> None:
        # The text only informs: without room on the disk the lock still holds.
        assert self._file is not None
        with contextlib.suppress(OSError):
            os.ftruncate(self._file, 0)
            os.pwrite(self._file, text.encode(), 0)


def _make_directory(directory: Path) -> None:
    """As `mkdir -p -m 700`; what is made is durable, what exists keeps its mode."""
    if directory.is_dir():
        return
    if not directory.parent.is_dir():
        directory.parent.mkdir(parents=True, exist_ok=True)
    directory.mkdir(mode=0o700, exist_ok=True)
    parent = os.open(directory.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


def _holder(file: int) -> str:
    try:
        told = json.loads(os.pread(file, 4096, 0))
        url = f" at {told['url']}" if told["url"] else ""
        return f"the server{url} with process id {told['pid']}, running since {told['started_at']}"
    except (OSError, ValueError, KeyError, TypeError):
        return "another server that has only just started"
