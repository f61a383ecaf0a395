"""A machine with faults for one server process: a small library, `shim.c`, is loaded into it. Linux only."""

import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_name("shim.c")


def compile_shim(directory: Path) -> Path | None:
    """The library, made in the directory; None where that is impossible."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    library = directory / "shim.so"
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-Wall", "-o", library, SOURCE, "-ldl"], check=True)
    return library


class Sync(NamedTuple):
    """A sync of the database's files; monotonic nanoseconds."""

    began_ns: int
    ended_ns: int
    result: int


class Shim:
    """Disk and clock as a test drives them; `env` is for the server."""

    def __init__(
        self, library: Path, directory: Path, *, sync_delay_ms: int = 0, write_delay_us: int = 0
    ) -> None:
        self._fault, self._log, self._clock = (directory / name for name in ("fault", "syncs", "clock"))
        self.set_clock(0)
        self.env = {
            "LD_PRELOAD": str(library),
            "SHIM_FAULT": str(self._fault),
            "SHIM_LOG": str(self._log),
            "SHIM_CLOCK": str(self._clock),
            "SHIM_SYNC_DELAY_MS": str(sync_delay_ms),
            "SHIM_WRITE_DELAY_US": str(write_delay_us),
        }

    def fail(self, what: str) -> None:
        """Begin a fault: `sync EIO`, `write ENOSPC`, `read EIO`, `open EROFS`; `size BYTES`, a full disk."""
        beside = self._fault.with_suffix(".new")
        beside.write_text(what)
        beside.replace(self._fault)

    def heal(self) -> None:
        self._fault.unlink()

    def set_clock(self, ahead_ms: int) -> None:
        """Let the server see a time of day that is so far ahead, or with a negative number behind."""
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(struct.pack("=q", ahead_ms))

    def syncs(self) -> list[Sync]:
        return [Sync(*map(int, line.split())) for line in self._log.read_text().splitlines()]
