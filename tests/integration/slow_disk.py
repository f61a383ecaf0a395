"""A disk that is slow or broken, for one server process: a small library that is loaded into it.

It delays, logs and fails the system calls by which SQLite writes and syncs its files. Linux only.
"""

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

SHIM = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

static long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1000000000LL + t.tv_nsec;
}

/* Only files of the database: main.db and its log. */
static int is_ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return strstr(path, "main.db") != NULL && strstr(path, "-shm") == NULL;
}

/* The fault file holds "sync EIO", "sync ENOSPC" or "write ENOSPC"; without it the disk is well. */
static int fault(const char *call) {
    const char *name = getenv("SHIM_FAULT");
    FILE *file = name ? fopen(name, "r") : NULL;
    char kind[16] = "", error[16] = "";
    if (!file) return 0;
    int n = fscanf(file, "%15s %15s", kind, error);
    fclose(file);
    if (n != 2 || strcmp(kind, call) != 0) return 0;
    return strcmp(error, "ENOSPC") == 0 ? ENOSPC : EIO;
}

static int synced(int fd, const char *name) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    if (!is_ours(fd)) return real(fd);
    long long began = now_ns();
    const char *delay = getenv("SHIM_SYNC_DELAY_MS");
    if (delay) usleep(atoi(delay) * 1000);
    int error = fault("sync");
    int result = error ? -1 : real(fd);
    const char *log = getenv("SHIM_LOG");
    if (log) {
        char line[128];
        int length = snprintf(line, sizeof line, "%lld %lld %d\n", began, now_ns(), result);
        int file = open(log, O_WRONLY | O_CREAT | O_APPEND, 0600);
        if (file >= 0) {
            if (write(file, line, length) != length) abort();
            close(file);
        }
    }
    if (error) errno = error;
    return result;
}

int fsync(int fd) { return synced(fd, "fsync"); }
int fdatasync(int fd) { return synced(fd, "fdatasync"); }

static ssize_t written(int fd, const void *bytes, size_t count, off_t offset, const char *name) {
    ssize_t (*real)(int, const void *, size_t, off_t) = dlsym(RTLD_NEXT, name);
    if (!is_ours(fd)) return real(fd, bytes, count, offset);
    const char *delay = getenv("SHIM_WRITE_DELAY_US");
    if (delay) usleep(atoi(delay));
    int error = fault("write");
    if (error) { errno = error; return -1; }
    return real(fd, bytes, count, offset);
}

ssize_t pwrite(int fd, const void *b, size_t n, off_t o) { return written(fd, b, n, o, "pwrite"); }
ssize_t pwrite64(int fd, const void *b, size_t n, off_t o) { return written(fd, b, n, o, "pwrite64"); }
"""


def compile_shim(directory: Path) -> Path | None:
    """The library, made in the directory; None where that is impossible."""
    compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
    if compiler is None or not sys.platform.startswith("linux"):
        return None
    source, library = directory / "shim.c", directory / "shim.so"
    source.write_text(SHIM)
    subprocess.run([compiler, "-shared", "-fPIC", "-O1", "-o", library, source, "-ldl"], check=True)
    return library


class Sync(NamedTuple):
    """A sync of the database's files; monotonic nanoseconds."""

    began_ns: int
    ended_ns: int
    result: int


@dataclass(frozen=True, slots=True)
class Disk:
    """The shim as a test drives it."""

    env: dict[str, str]
    _fault: Path
    _log: Path

    def fail(self, what: str) -> None:
        self._fault.write_text(what)

    def heal(self) -> None:
        self._fault.unlink()

    def syncs(self) -> list[Sync]:
        return [Sync(*map(int, line.split())) for line in self._log.read_text().splitlines()]
