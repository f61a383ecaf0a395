"""Storage in one SQLite file: the default, for one server on one host."""

from inngest_server.storage.sqlite.storage import SQLiteStorage

__all__ = ["SQLiteStorage"]
