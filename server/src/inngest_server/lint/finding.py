"""What was found, and where."""

from typing import NamedTuple


class Finding(NamedTuple):
    """One mistake. Lines and columns count from 1; findings sort by their place."""

    path: str
    line: int
    column: int
    end_line: int
    end_column: int
    """Behind the last character."""
    code: str
    message: str
    """A sentence without its full stop: what is done there, and what comes of it."""
    fix: str
    function: str
    """Id of the Inngest function, or its name where the id is computed; empty for a whole file."""
