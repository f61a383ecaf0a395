"""Whether the write-ahead log of a database was damaged on the disk.

SQLite takes a log up to the first frame that does not fit its checksum, and says nothing: so it drops the
unfinished transaction of a crash. But damage in the middle makes it drop what was committed and answered too.
The two can be told apart, since with `synchronous=FULL` a transaction is synced before the next is written:
dropped frames that end a transaction *and are followed by more* were on disk once.

Layout of both files: SQLite's documentation, "WAL-mode File Format".
"""

import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

HEADER_BYTES = 32
FRAME_HEADER_BYTES = 24
BYTE_ORDERS = {0x377F0682: "<", 0x377F0683: ">"}
"""In which checksums are computed, by the first number of the log."""
LAST_FRAME_AT = 16
"""Where the index of the log, a file of its own, has the number of frames that SQLite took."""


def what_is_lost(path: Path) -> str:
    """What SQLite would drop of the log of this database though it was on disk; empty if nothing.

    Only for a process that has no connection to the database: closing a file takes away all locks that the
    process has on it, those of SQLite too, and who opens the database next would empty the index under it.
    """
    log_path, index_path = path.with_name(f"{path.name}-wal"), path.with_name(f"{path.name}-shm")
    if not log_path.exists():
        return ""
    try:
        _make_index(path)
        with log_path.open("rb") as log, index_path.open("rb") as index:
            header = log.read(HEADER_BYTES)
            if len(header) < HEADER_BYTES or not any(header):
                return ""
            if not _is_whole(header):
                return "its beginning is damaged, so that nothing of it could be read"
            (page_bytes,) = struct.unpack_from(">I", header, 8)
            taken = _last_frame(index)
            commits = _commits_after(log, taken, page_bytes, salts=header[16:24])
            # A server that runs on it writes frames before it counts them.
            is_still = taken == _last_frame(index)
    except (OSError, sqlite3.Error, UnicodeDecodeError):
        return ""  # Whoever opens the database next is told what is wrong with it.
    if not commits or not is_still:
        return ""
    return f"it is damaged after frame {taken}, so that {commits} or more transactions are lost"


def _make_index(path: Path) -> None:
    """Let SQLite read the log, if nobody has since its last writer ended."""
    with closing(sqlite3.connect(f"file:{quote(str(path.absolute()))}?mode=ro", uri=True)) as connection:
        connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()


def _is_whole(header: bytes) -> bool:
    (magic,) = struct.unpack_from(">I", header)
    order = BYTE_ORDERS.get(magic)
    return order is not None and _checksum(header[:24], order) == struct.unpack_from(">II", header, 24)


def _checksum(data: bytes, order: str) -> tuple[int, int]:
    first = second = 0
    for one, other in struct.iter_unpack(f"{order}II", data):
        first = (first + one + second) & 0xFFFFFFFF
        second = (second + other + first) & 0xFFFFFFFF
    return first, second


def _last_frame(index: BinaryIO) -> int:
    index.seek(LAST_FRAME_AT)
    content = index.read(4)
    return struct.unpack("=I", content)[0] if len(content) == 4 else 0


def _commits_after(log: BinaryIO, taken: int, page_bytes: int, *, salts: bytes) -> int:
    """Ends of transactions that are followed by more; frames with other salts belong to an older log."""
    commits = followed = 0
    log.seek(HEADER_BYTES + taken * (FRAME_HEADER_BYTES + page_bytes))
    while len(frame := log.read(FRAME_HEADER_BYTES)) == FRAME_HEADER_BYTES and frame[8:16] == salts:
        followed = commits
        commits += any(frame[4:8])
        log.seek(page_bytes, 1)
    return followed
