"""What a request may do next: memos, planning, targets (protocol 4.5, 4.6). Pure, and shared by both shells.

A request replays the run: the code asks for its steps one after another, and each that is stored is answered
from its memo. Steps that are not stored are *found*. When the code can go no further without one of them, the
session decides: run the only one at once, or report them all.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, cast

from .call import CallRequest
from .ids import StepId, StepIds
from .memos import Output, StepMemos, is_input
from .ops import Kind, Op

RACE = {"parallelMode": "race"}


class Place(NamedTuple):
    """Where the code asked for a step."""

    file: str
    line: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}"


class Found(NamedTuple):
    """A step that the code asks for and that has no result yet; `is_run` if the app itself executes it."""

    op: Op
    is_run: bool
    goes_alone: bool = False
    """It is part of a branch that goes on as soon as this step is done (`parallelMode: race`)."""
    place: Place | None = None


@dataclass(frozen=True, slots=True)
class Execute:
    """Run this step now, in this request."""

    found: Found


@dataclass(frozen=True, slots=True)
class Report:
    """Answer with these operations."""

    ops: tuple[Op, ...]


@dataclass(frozen=True, slots=True)
class Missing:
    """The step that the request names is not among those that the code asks for now."""


class Session:
    """One request's view of its run."""

    def __init__(self, call: CallRequest, memos: StepMemos) -> None:
        self.call = call
        self.memos = memos
        self._ids = StepIds()
        self._stack = [hashed for hashed in call.stack if hashed in memos]
        self._position = {hashed: number for number, hashed in enumerate(self._stack)}
        self._first = 0
        self._taken: set[str] = set()
        self._branches: dict[str, object] = {}
        self._calm: set[str] = set()
        self.doubtful: StepId | None = None
        """An id that two branches use: which use gets which result depends on time."""
        self.places: dict[str, tuple[StepId, Place | None]] = {}
        """Steps that the code asked for in this request, with where it did, in that order."""

    def name(self, user_id: str, place: Place | None, branch: object, *, races: bool = False) -> StepId:
        """The identity of the step that the code asks for next, in whichever branch.

        `races`: its result alone makes the server ask again, whatever other branches do.
        """
        step = self._ids.next(user_id)
        if not races:
            self._calm.add(step.hashed)
        if self._branches.setdefault(user_id, branch) is not branch:
            self.doubtful = self.doubtful or step
        self.places[step.hashed] = (step, place)
        return step

    def is_target(self, user_id: str) -> bool:
        """Whether the next use of an id is the step that the request is for."""
        return self.call.target is not None and self._ids.peek(user_id).hashed == self.call.target

    def forget(self) -> None:
        """Let go of the code's branches: the request has its answer."""
        self._branches.clear()
        self.places.clear()

    # Replay.

    @property
    def is_replaying(self) -> bool:
        """Whether results are left that the code has not asked for."""
        return bool(self.memos)

    @property
    def is_racing(self) -> bool:
        """Whether another request may be where this one is.

        Each result of a race brings a request of its own. Those of the last two may begin when both are
        stored: they see the same, and would execute the same step.
        """
        return not self._calm.issuperset(self._stack[-2:])

    def has(self, step: StepId) -> bool:
        return step.hashed in self.memos and step.hashed != self.call.target

    def is_next(self, step: StepId) -> bool:
        """Whether no result that was stored earlier is still to be asked for."""
        return self.position(step) <= self._first

    def position(self, step: StepId) -> int:
        """Of a stored step among the others, by the time at which it was stored."""
        return self._position.get(step.hashed, -1)

    def take(self, step: StepId) -> Output:
        """The stored result of a step, once."""
        self._taken.add(step.hashed)
        while self._first < len(self._stack) and self._stack[self._first] in self._taken:
            self._first += 1
        return cast(Output, self.memos.pop(step.hashed))

    def input_of(self, step: StepId) -> list[object] | None:
        """Arguments with which to run the step instead of its own: a rerun with an edited input."""
        value = self.call.steps.get(step.hashed)
        return cast("dict[str, list[object]]", value)["input"] if is_input(value) else None

    # Going on.

    def decide(self, found: Sequence[Found], *, in_parallel: bool) -> Execute | Report | Missing | None:
        """What to do when the code can go no further; None when it found nothing.

        `in_parallel`: branches are under way. Then even an only step is planned, as a request for it may be
        on its way already, since another branch went on before it.
        """
        if self.call.target is not None:
            return self._aimed(found, self.call.target)
        if not found:
            return None
        if len(found) == 1:
            return self._alone(found[0], in_parallel)
        return Report(tuple(planned(one) for one in found))

    def _alone(self, found: Found, in_parallel: bool) -> Execute | Report:
        if found.is_run and not self.call.plan_only and not in_parallel:
            return Execute(found)
        return Report((planned(found, alone=not in_parallel),))

    def _aimed(self, found: Sequence[Found], target: str) -> Execute | Report | Missing:
        for one in found:
            if one.op.step.hashed == target:
                aimed = one._replace(op=_with_mode(one))
                return Execute(aimed) if one.is_run else Report((aimed.op,))
        return Missing()

    # Steps that do not match what is stored.

    def left_over(self) -> list[int]:
        """Positions of stored steps that the code did not ask for."""
        return [number for number, hashed in enumerate(self._stack) if hashed not in self._taken]

    def describe_mismatch(self, new: Found | None) -> str | None:
        """How the code's steps differ from the stored ones; None if they do not.

        `new` is the step that is about to run; without one the function has ended.
        """
        left = self.left_over()
        if not left:
            return None
        stored = ", ".join(self._describe_stored(number) for number in left[:5])
        if len(left) > 5:
            stored += f" and {len(left) - 5} more"
        if new is None:
            happened = f"the function ended without asking for {stored}"
        else:
            step = new.op.step
            happened = f"{_at(step, new.place)} is new to this run, and the code did not ask for {stored}"
        return (
            f"{happened}. The steps changed since the run began (renamed, reordered or removed), or their "
            f"order depends on something outside of steps. Known so far: {self._describe_known()}"
        )

    def _describe_stored(self, number: int) -> str:
        before = self._stack[number - 1] if number else None
        after = self.places.get(before) if before is not None else None
        where = f", stored after {after[0].text!r}" if after else ""
        return f"stored step {number + 1} of {len(self._stack)} (id {self._stack[number][:8]}{where})"

    def _describe_known(self) -> str:
        return ", ".join(_at(step, place) for step, place in self.places.values()) or "no step"


def _at(step: StepId, place: Place | None) -> str:
    return f"step {step.text!r} ({place})" if place else f"step {step.text!r}"


def planned(found: Found, *, alone: bool = False) -> Op:
    """The operation that announces a step without executing it; `alone` when no branches are under way."""
    op = found.op if alone else _with_mode(found)
    return Op(Kind.PLANNED, op.step, op.opts, op.name, op.display_name) if found.is_run else op


def _with_mode(found: Found) -> Op:
    """The operation of a step among others: its result, too, says whether its branch goes on alone."""
    if not found.goes_alone:
        return found.op
    return found.op._replace(opts={**(found.op.opts or {}), **RACE})
