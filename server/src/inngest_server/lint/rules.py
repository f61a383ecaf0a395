"""The rules: code, name, and what people read about them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final

PREFIX: Final = "ING"


class RuleError(Exception):
    """There is no rule of that code or name."""

    code = "unknown_rule"


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One kind of mistake."""

    code: str
    name: str
    finds: str
    """What it finds, for the table of the reference page."""
    why: str
    """What happens if it stays."""
    fix: str
    """What to do, in general; a finding may say it with the names at hand."""
    opt_in: bool = False
    """Only looked for when it is selected by its code or name."""


RULES: Final = (
    Rule(
        code="ING000",
        name="unreadable-file",
        finds="a file that is no Python",
        why="Nothing in it can be checked.",
        fix="correct the file, or leave it out with `exclude`",
    ),
    Rule(
        code="ING001",
        name="clock-outside-step",
        finds="reading the clock: `datetime.now()`, `time.time()`",
        why="Code outside steps is executed again with every call of the function, and the clock shows "
        "another time. What depends on it may take another way than before.",
        fix="read the clock in a step",
    ),
    Rule(
        code="ING002",
        name="random-outside-step",
        finds="chance: `random`, `secrets`, `uuid4()`",
        why="Every call of the function draws anew. An id that was given away is another in the next call.",
        fix="draw it in a step",
    ),
    Rule(
        code="ING003",
        name="io-outside-step",
        finds="files, processes and the network: `open`, `requests`, `httpx`, `subprocess`, ...",
        why="It happens once with every call of the function, not once per run, and is not tried again on "
        "its own when it fails.",
        fix="do it in a step",
    ),
    Rule(
        code="ING004",
        name="database-outside-step",
        finds="calls of a database",
        why="Writes are repeated with every call of the function, and reads find what has changed meanwhile.",
        fix="do it in a step",
    ),
    Rule(
        code="ING005",
        name="environment-outside-step",
        finds="reading the environment, the process or the host: `os.environ`, `os.getpid()`",
        why="The next call may reach another process or another deployment. Constant settings are harmless.",
        fix="read settings when the module is loaded, or in a step",
        opt_in=True,
    ),
    Rule(
        code="ING006",
        name="await-outside-step",
        finds="waiting for something that is no step",
        why="It is executed again with every call of the function, and its result is not remembered.",
        fix="wait for it in a step",
    ),
    Rule(
        code="ING007",
        name="sleep-outside-step",
        finds="`asyncio.sleep`, `time.sleep`, and time limits of `asyncio` around steps",
        why="The time is spent again with every call, keeps a request open, and is lost with the process.",
        fix="sleep with ctx.step.sleep",
    ),
    Rule(
        code="ING008",
        name="send-outside-step",
        finds="`client.send(...)` instead of `ctx.step.send_event`",
        why="The events are sent again with every call of the function.",
        fix="send them with ctx.step.send_event",
    ),
    Rule(
        code="ING009",
        name="unordered-steps",
        finds="steps in the order of a set",
        why="Python gives a set another order in another process, so the next call meets the steps in "
        "another order.",
        fix="iterate over sorted(...)",
    ),
    Rule(
        code="ING010",
        name="step-id-in-loop",
        finds="a step id that is the same each time round a loop",
        why="The second step of an id is told from the first only by its number. When the loop goes round "
        "in another order, or over other things, results are mixed up.",
        fix="put what differs into the id",
    ),
    Rule(
        code="ING011",
        name="step-id-in-branch",
        finds="a step id that was used before in a branch which may not have been taken",
        why="Which number the later step gets depends on the branch.",
        fix="give each step its own id",
    ),
    Rule(
        code="ING012",
        name="step-id-repeated",
        finds="a step id that is used twice, one after the other",
        why="It works: the second counts as `id:1`. It is often a copy that was forgotten, and a third one "
        "put in between takes the result of the second.",
        fix="give each step its own id",
        opt_in=True,
    ),
    Rule(
        code="ING013",
        name="step-id-not-stable",
        finds="a step id made of the clock, of chance, of `ctx.attempt`, `id()` or `hash()`",
        why="The next call looks for a step of another id, does not find its result, and executes it again.",
        fix="make the id of what stays the same: the event's data, results of steps",
    ),
    Rule(
        code="ING014",
        name="late-bound-step",
        finds="a lambda with a step that uses the variable of the loop around it",
        why="A lambda looks the variable up when it is called, after the loop: every step gets the last "
        "value, and the same id.",
        fix="use functools.partial, or bind it as a default: lambda x=x: ...",
    ),
    Rule(
        code="ING015",
        name="step-not-awaited",
        finds="a step of an async function without `await`, or a task of one that nothing waits for",
        why="The step is not executed, or only if the function happens to wait for something else.",
        fix="put `await` in front",
    ),
    Rule(
        code="ING016",
        name="step-in-step",
        finds="a step within the function that a step executes",
        why="Steps cannot be nested: the outer one would have to be executed again to get to the inner one.",
        fix="call the inner step beside the outer one",
    ),
    Rule(
        code="ING017",
        name="step-swallowed",
        finds="`except:`, `except BaseException` or `CancelledError` around steps, not raised again",
        why="The end of a request at a step, and its cancellation, are such exceptions: they are swallowed, "
        "and the function goes on as if the step had ended.",
        fix="catch Exception, or an error of your own",
    ),
    Rule(
        code="ING018",
        name="step-in-finally",
        finds="a step in `finally`",
        why="`finally` is also executed when a request ends at a step before it, in the middle of the run.",
        fix="call the step after the `try`, and once more in `except Exception` if it is needed there",
    ),
    Rule(
        code="ING019",
        name="lost-change",
        finds="a step that changes a variable of the function around it, which is used later",
        why="The step is executed in one call only. In the next one its result is remembered, but not what "
        "it changed.",
        fix="return the value from the step and change the variable outside",
    ),
    Rule(
        code="ING020",
        name="handler-called",
        finds="a step that is given a result instead of the function: `ctx.step.run(id, f(x))`",
        why="The call happens outside the step, with every call of the function, and the step gets nothing "
        "that it could execute.",
        fix="give the function and its arguments: ctx.step.run(id, f, x)",
    ),
)
BY_CODE: Final = {rule.code: rule for rule in RULES}
BY_NAME: Final = {rule.name: rule for rule in RULES}


def find_rule(text: str) -> Rule | None:
    """A rule by its code or name, in upper or lower case."""
    return BY_CODE.get(text.upper()) or BY_NAME.get(text.lower())


def codes_of(text: str) -> list[str]:
    """The codes of a rule's code, its name, or of all whose code begins so (`ING01`).

    Raises:
        RuleError: there is none.
    """
    rule = find_rule(text)
    if rule is not None:
        return [rule.code]
    prefix = text.upper()
    codes = [code for code in BY_CODE if prefix.startswith(PREFIX) and code.startswith(prefix)]
    if not codes:
        nearest = get_close_matches(text.lower(), BY_NAME, n=1)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are {RULES[0].code} to {RULES[-1].code}"
        raise RuleError(f"there is no rule {text!r}; {hint}")
    return codes


def enabled(select: Sequence[str] = (), ignore: Iterable[str] = ()) -> frozenset[str]:
    """The codes to look for; without `select` all but those that are opt-in.

    Raises:
        RuleError: there is no such rule.
    """
    chosen = {code for text in select for code in codes_of(text)} if select else set(_defaults())
    # A file that cannot be read is told unless it is ignored: nothing else of it could be found.
    return frozenset((chosen | {"ING000"}) - {code for text in ignore for code in codes_of(text)})


def _defaults() -> list[str]:
    return [rule.code for rule in RULES if not rule.opt_in]
