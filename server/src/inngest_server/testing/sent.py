"""What came of sending events."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar, overload

from inngest_server.runs.records import RunRow
from inngest_server.testing.errors import NoSuchRunError
from inngest_server.testing.run import Link, RunView

RunT = TypeVar("RunT", bound=RunView)


class Sent(Sequence[RunT]):
    """Events that were sent, and the runs that they have started by now: a later look may find more."""

    def __init__(self, link: Link, ids: list[str], make: Callable[[str], RunT]) -> None:
        self._node, self._read, _ = link
        self._make = make
        self.ids = ids
        """Internal ids of the events."""

    @property
    def runs(self) -> list[RunT]:
        rows: list[RunRow] = [row for one in self.ids for row in self._read(self._node.runs_of(one))]
        return [self._make(run_id) for run_id in dict.fromkeys(row.run_id for row in rows)]

    @property
    def run(self) -> RunT:
        """The only run.

        Raises:
            NoSuchRunError: there is none, or there are several.
        """
        runs = self.runs
        if len(runs) == 1:
            return runs[0]
        if runs:
            names = ", ".join(run.function for run in runs)
            raise NoSuchRunError(
                f"{len(runs)} runs were started, of {names}; world.runs(function) tells them apart"
            )
        raise NoSuchRunError(f"no run was started: {self.explanation}")

    @property
    def explanation(self) -> str:
        """What became of the events, in sentences."""
        said: list[str] = []
        for one in self.ids:
            found = self._read(self._node.request("GET", f"/api/ui/v1/events/{one}/explain"))
            said += [found["summary"], *(f"{row['function']}: {row['says']}" for row in found["functions"])]
            said += [f"{near['trigger']} of {near['function']} {near['why']}" for near in found["near"]]
        return "; ".join(said)

    @overload
    def __getitem__(self, index: int) -> RunT: ...
    @overload
    def __getitem__(self, index: slice) -> list[RunT]: ...
    def __getitem__(self, index: int | slice) -> RunT | list[RunT]:
        return self.runs[index]

    def __len__(self) -> int:
        return len(self.runs)

    def __iter__(self) -> Iterator[RunT]:
        return iter(self.runs)

    def __repr__(self) -> str:
        return f"<Sent {', '.join(self.ids)}: {self.runs!r}>"
