"""The functions that simulated apps serve: small programs, drawn from a seed, and what an SDK finds in them.

A program is a tuple of statements. An SDK runs it from its beginning in every request: statements that have a
memo are passed, the first ones without are *found*, and nothing behind them is reached.
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from inngest_server.wire.step_ids import hash_step_id

from .options import NO_OPTIONS, Options, OptionsMaker

EVENTS = ("shop/a", "shop/b", "shop/c")
"""Events that start functions and end waits."""
CANCEL_EVENT = "shop/cancel"
SIGNALS = ("red", "green")
MATCH_K = "event.data.k == async.data.k"


class Step(NamedTuple):
    """User code that runs in the app. Fails in the first `fails` attempts of its request."""

    name: str
    fails: int = 0


class Sleep(NamedTuple):
    name: str
    seconds: int


class WaitForEvent(NamedTuple):
    name: str
    event: str
    match: bool
    """Only an event whose `data.k` is that of the run's own."""
    seconds: int


class WaitForSignal(NamedTuple):
    name: str
    signal: str
    seconds: int
    replaces: bool
    """An open wait of another run; otherwise it is a conflict, which fails this one."""


class Invoke(NamedTuple):
    name: str
    function: str
    seconds: int


class Parallel(NamedTuple):
    """`all` goes on when every branch is done, `race` when the first is."""

    mode: Literal["all", "race"]
    branches: tuple["Program", ...]


class Try(NamedTuple):
    """Goes on behind its body when a step of it failed for good."""

    body: "Program"


class Raise(NamedTuple):
    """The function itself fails in the first `fails` attempts of the request that comes here."""

    fails: int


Statement = Step | Sleep | WaitForEvent | WaitForSignal | Invoke | Parallel | Try | Raise
Program = tuple[Statement, ...]
Waiting = Sleep | WaitForEvent | WaitForSignal | Invoke


@dataclass
class Function:
    """A function as its app registers and runs it."""

    slug: str
    program: Program
    event: str | None = None
    expression: str | None = None
    retries: int = 2
    options: Options = NO_OPTIONS
    """Its flow control."""
    options_maker: OptionsMaker | None = None
    """Who drew the options, and draws what a deployment changes."""
    cancel_event: str | None = None
    cron: str | None = None
    cron_jitter: str = ""
    hidden: bool = False
    """Not announced in the next sync: added or removed later."""
    is_served: bool = True
    """Whether the app still has its code."""
    maker: "ProgramMaker | None" = None
    """Who drew the program, and draws what a deployment adds to it."""

    @property
    def max_attempts(self) -> int:
        return self.retries + 1

    def config(self, app_url: str) -> dict[str, Any]:
        """The function as a registration names it. Source: protocol 2.2."""
        triggers: list[dict[str, Any]] = []
        if self.event is not None:
            trigger = {"event": self.event}
            triggers.append(trigger | ({"expression": self.expression} if self.expression else {}))
        if self.cron is not None:
            triggers.append({"cron": self.cron} | ({"jitter": self.cron_jitter} if self.cron_jitter else {}))
        if not triggers:  # Only ever invoked.
            triggers.append({"event": f"never/{self.slug}"})
        url = f"{app_url}?fnId={self.slug}&stepId=step"
        config: dict[str, Any] = {
            "id": self.slug,
            "name": self.slug,
            "triggers": triggers,
            "steps": {
                "step": {
                    "id": "step",
                    "name": "step",
                    "runtime": {"type": "http", "url": url},
                    "retries": {"attempts": self.retries},
                }
            },
        }
        config |= self.options.config()
        if self.cancel_event is not None and self.options.batch is None:  # Source: protocol 2.7.
            config["cancel"] = [{"event": self.cancel_event, "if": MATCH_K}]
        return config


class StepFailure(Exception):
    """A step that failed for good reached user code as an error."""

    def __init__(self, error: Mapping[str, Any]) -> None:
        super().__init__(str(error.get("message")))
        self.error = error


class FunctionFailure(Exception):
    """User code raised outside of steps."""


class Found(NamedTuple):
    """A statement without a memo that the program came to."""

    statement: Step | Waiting
    step_id: str
    race: bool


class Replay:
    """One run of a program from its beginning over the memos of a request."""

    def __init__(self, memos: Mapping[str, Any], stack: Sequence[str], attempt: int) -> None:
        self._memos = memos
        # A state that was fetched may be newer than the stack of the request.
        self._order = {step_id: n for n, step_id in enumerate(dict.fromkeys([*stack, *memos]))}
        self._attempt = attempt
        self.reached: list[Found] = []
        """Everything without a memo that was come to, in branches of a decided race too."""

    def run(self, program: Program) -> list[Found]:
        """What is found; nothing when the program came to its end.

        Raises:
            StepFailure, FunctionFailure: user code raised.
        """
        found, _ = self._run(program, race=False)
        return found

    def _run(self, program: Program, *, race: bool) -> tuple[list[Found], int]:
        """What is found, and the position in the stack of the memo that was passed last."""
        last = -1
        for statement in program:
            match statement:
                case Parallel():
                    found, position = self._parallel(statement)
                case Try(body):
                    try:
                        found, position = self._run(body, race=race)
                    except StepFailure as failure:
                        found, position = [], failure.args[1] if len(failure.args) > 1 else last
                case Raise(fails):
                    if self._attempt < fails:
                        raise FunctionFailure(f"attempt {self._attempt}")
                    found, position = [], last
                case _:
                    found, position = self._pass(statement, race=race)
            if found:
                return found, last
            last = max(last, position)
        return [], last

    def _pass(self, statement: Step | Waiting, *, race: bool) -> tuple[list[Found], int]:
        step_id = hash_step_id(statement.name)
        if step_id not in self._memos:
            found = Found(statement, step_id, race)
            self.reached.append(found)
            return [found], -1
        memo = self._memos[step_id]
        if isinstance(memo, dict) and set(memo) == {"error"}:
            failure = StepFailure(memo["error"])
            failure.args = (*failure.args, self._order[step_id])
            raise failure
        return [], self._order[step_id]

    def _parallel(self, group: Parallel) -> tuple[list[Found], int]:
        found: list[Found] = []
        done: list[int] = []
        failed: list[tuple[int, StepFailure]] = []
        for branch in group.branches:
            try:
                more, position = self._run(branch, race=group.mode == "race")
            except StepFailure as failure:
                failed.append((failure.args[1], failure))
                continue
            if more:
                found.extend(more)
            else:
                done.append(position)
        first_failure = min(failed, key=lambda one: one[0]) if failed else None
        if first_failure is not None and (group.mode == "all" or not done or first_failure[0] < min(done)):
            raise first_failure[1]
        if group.mode == "race" and done:
            return [], min(done)
        return found, max(done, default=-1)


class ProgramMaker:
    """Draws programs; names are unique within each."""

    def __init__(self, chance: random.Random, children: Sequence[str], *, max_attempts: int) -> None:
        self._chance = chance
        self._children = children
        self._max_attempts = max_attempts
        self._count = 0

    def make(self, length: int) -> Program:
        return tuple(self._statement(depth=0) for _ in range(length))

    def one(self) -> Statement:
        """A statement that a deployment adds; its name was never used before."""
        return self._statement(depth=1)

    def renamed(self, statement: Statement) -> Statement:
        """The same statement under a new name, where it has one."""
        if isinstance(statement, Step | Sleep | WaitForEvent | WaitForSignal | Invoke):
            return statement._replace(name=self._name(statement.name.partition("-")[0]))
        return statement

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}-{self._count}"

    def _statement(self, depth: int) -> Statement:
        chance = self._chance
        kinds = ["step"] * 8 + ["sleep"] * 2 + ["wait"] * 2 + ["signal", "raise", "fatal"]
        if self._children:
            kinds += ["invoke"] * 2
        if depth < 2:
            kinds += ["all"] * 3 + ["race"]
        match chance.choice(kinds):
            case "step":
                fails = chance.choice((0, 0, 0, 0, 1, self._max_attempts - 1))
                return Step(self._name("step"), fails)
            case "fatal":
                body: list[Statement] = [Step(self._name("fatal"), 99)]
                if chance.random() < 0.5:
                    body.insert(0, Step(self._name("before")))
                return Try(tuple(body))
            case "sleep":
                return Sleep(self._name("sleep"), chance.choice((0, 1, 30, 600, 7200, 200_000)))
            case "wait":
                match = chance.random() < 0.6
                event = chance.choice(EVENTS if match else (*EVENTS, "inngest/function.finished"))
                return WaitForEvent(self._name("wait"), event, match, chance.choice((5, 300, 3600, 90_000)))
            case "signal":
                signal, seconds = chance.choice(SIGNALS), chance.choice((60, 1800))
                return WaitForSignal(self._name("signal"), signal, seconds, chance.random() < 0.8)
            case "invoke":
                return Invoke(
                    self._name("invoke"), chance.choice(self._children), chance.choice((20, 3600, 400_000))
                )
            case "raise":
                return Raise(chance.choice((0, 1, self._max_attempts - 1)))
            case mode:
                branches = tuple(
                    tuple(self._statement(depth + 1) for _ in range(chance.choice((1, 1, 2))))
                    for _ in range(chance.choice((2, 2, 3, 4)))
                )
                return Parallel(mode, branches)  # type: ignore[arg-type]
