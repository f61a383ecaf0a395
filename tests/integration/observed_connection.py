"""Stands between the storage and SQLite: sees what the writer does, and fails where it is told to."""

import sqlite3
from typing import Any


class Observed(sqlite3.Connection):
    """A connection that says what it did, and fails where it is told to."""

    log: list[str]
    fail_on: dict[str, sqlite3.Error]
    before_begin: list[str]
    answers: dict[str, Any]

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        word = sql.split(maxsplit=1)[0]
        while word == "BEGIN" and self.before_begin:
            extra = self.before_begin.pop()
            self.answers[extra] = super().execute(extra).fetchone()[0]
        if error := self.fail_on.get(word):
            if word == "COMMIT":
                super().execute("ROLLBACK")  # As SQLite does by itself after an I/O error.
            raise error
        cursor = super().execute(sql, parameters)
        self.log.append(word)
        return cursor


def sqlite_error(name: str) -> sqlite3.OperationalError:
    error = sqlite3.OperationalError("simulated")
    error.sqlite_errorname = name
    return error
