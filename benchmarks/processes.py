"""Processes under test, and the machine they run on."""

import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
STOP_TIMEOUT_S = 10.0


class BenchmarkError(Exception):
    """The benchmark cannot go on; the message says which part failed and where to look."""


def free_port() -> int:
    """A port on loopback that is free at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Child:
    """A process that we started, whose output goes to a file, pinned to one core if asked."""

    def __init__(self, name: str, command: Sequence[str], log: Path, core: int | None) -> None:
        self.name = name
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(command, stdout=output, stderr=subprocess.STDOUT, cwd=ROOT)
        self.pid = self._process.pid
        if core is not None:
            os.sched_setaffinity(self.pid, {core})  # At once, so that its later threads inherit it.

    def check_alive(self) -> None:
        """Raise when the process has ended, with the end of its output."""
        if self._process.poll() is not None:
            tail = self._log.read_text(errors="replace")[-2000:]
            raise BenchmarkError(f"the {self.name} ended with status {self._process.returncode}:\n{tail}")

    def stop(self) -> None:
        """Ask it to stop, and insist after a while."""
        self._process.terminate()
        try:
            self._process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """End it as a crash would."""
        self._process.kill()
        self._process.wait()


class OwnServer:
    """The server that we start, and may start again on the same directory."""

    def __init__(self, command: Sequence[str], log: Path, core: int | None) -> None:
        self._command = command
        self._log = log
        self._core = core
        self.child = self._start()

    def _start(self) -> Child:
        return Child("server", self._command, self._log, self._core)

    @property
    def pid(self) -> int:
        return self.child.pid

    def restart(self, *, crash: bool) -> None:
        """End it, by a signal that it can answer or by SIGKILL, and start it again."""
        if crash:
            self.child.kill()
        else:
            self.child.stop()
        self.child = self._start()


def process_tree(pid: int) -> list[int]:
    """The process and its descendants; only on Linux more than the process itself."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue  # It ended while we were looking.
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found = [pid]
    for parent in found:
        found.extend(children.get(parent, []))
    return found


def rss_mb(pid: int | None) -> float:
    """Resident memory of a process tree, or 0 where it cannot be told."""
    total_kb = 0
    for member in process_tree(pid) if pid else []:
        try:
            status = Path(f"/proc/{member}/status").read_text()
        except OSError:
            continue
        total_kb += sum(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:"))
    return round(total_kb / 1024, 1)


def cpu_s(pid: int | None) -> float:
    """Processor seconds that a process tree has used, or 0 where it cannot be told."""
    ticks = 0
    for member in process_tree(pid) if pid else []:
        try:
            fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def machine_info(data_dir: Path) -> dict[str, Any]:
    """What a reader needs to compare the figures with others."""
    return {
        "cpu": cpu_model(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory_mb": os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // 2**20,
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
        "data_filesystem": filesystem_of(data_dir),
        "fdatasync_ms": sync_ms(data_dir),
    }


def cpu_model() -> str:
    """The processor's own name for itself."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "")


def filesystem_of(folder: Path) -> str:
    """The type of the file system that holds a folder; figures from `tmpfs` say nothing about disks."""
    try:
        mounts = [line.split()[1:3] for line in Path("/proc/mounts").read_text().splitlines()]
    except OSError:
        return "unknown"
    holding = [(mount, kind) for mount, kind in mounts if folder.resolve().is_relative_to(mount)]
    return max(holding, key=lambda entry: len(entry[0]), default=("", "unknown"))[1]


def sync_ms(folder: Path) -> float:
    """Median time to write and sync 4 KiB: the floor under every durable answer."""
    times: list[float] = []
    with tempfile.TemporaryFile(dir=folder) as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            started_ns = time.perf_counter_ns()
            os.fsync(file.fileno()) if sys.platform == "darwin" else os.fdatasync(file.fileno())
            times.append((time.perf_counter_ns() - started_ns) / 1e6)
    return round(statistics.median(times), 3)
