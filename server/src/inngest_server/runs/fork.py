"""Which results of a run another one takes over: reading its journal, and making a seed of what is wanted.

Pure. A journal only grows, so what is read of a run that still goes on is as good as that of an ended one.

A step is named by its hashed id or by its display name; of several steps with one name, the second one is
`name#2`, in the order in which the run came to them.
"""

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple, cast

import orjson

from inngest_server.events.event import InvalidEventsError, make_event, read_event
from inngest_server.runs.opcodes.gateway import AI, public_input, with_body
from inngest_server.runs.records import JournalKind, JournalRow
from inngest_server.runs.run import GATEWAY_OPS, Limits
from inngest_server.runs.seed import Seed, SeedEntry
from inngest_server.wire import json

KEPT_INPUT_BYTES_MAX = 4 * 1024 * 1024
"""Of the arguments of all steps that are kept, which are for people alone; the first run has the others."""
STEPS_NAMED = 50
"""In an error; a run may have a thousand."""
_RUN_BY_APP = frozenset({"", "StepRun", "StepFailed", "StepPlanned"})
"""Opcodes of steps whose code is in the app; a step that has only failed so far has none."""
_WAIT_FOR_EVENT, _WAIT_FOR_SIGNAL, _SLEEP = "WaitForEvent", "WaitForSignal", "Sleep"
_OF_MEMO = ("timeout", "event", "child", "code")
_OF_OPENED = ("until", "event", "if", "signal", "function")


class ForkError(Exception):
    """What is asked for cannot be taken over.

    ForkError
    ├── UnknownStepError         the run has no such step
    ├── BadForkError             what is asked for contradicts itself
    ├── BadResultError           a result that the step cannot have
    ├── InputNotEditableError    the app would not run the step with another input
    └── ForkTooLargeError        more than a run may hold
    """

    code = "fork_refused"
    hint = ""


class UnknownStepError(ForkError):
    code = "unknown_step"

    def __init__(self, name: str, steps: Sequence[str]) -> None:
        super().__init__(f"the run has no step {name[:120]!r}")
        self.steps = list(steps)
        shown = ", ".join(self.steps[:STEPS_NAMED])
        more = f" and {len(steps) - STEPS_NAMED} more" if len(steps) > STEPS_NAMED else ""
        self.hint = f"its steps are {shown}{more}" if steps else "it has no steps"


class BadForkError(ForkError):
    code = "invalid_fork"


class BadResultError(ForkError):
    code = "invalid_result"

    def __init__(self, step: str, problem: str, hint: str) -> None:
        super().__init__(f"the result given for step {step!r} {problem}")
        self.hint = hint


class InputNotEditableError(ForkError):
    code = "input_not_editable"

    def __init__(self, step: str, reason: str) -> None:
        super().__init__(f"step {step!r} cannot be run again with another input: {reason}")
        self.hint = "fork the run with another result for the step, or for one before it, in `replace`"


class ForkTooLargeError(ForkError):
    code = "fork_too_large"


class PastStep(NamedTuple):
    """A step that a run came to."""

    step_id: str
    label: str
    """Its display name, with `#2` and so on where it is not the first of that name; or else its id."""
    name: str
    opcode: str
    """Of its result, or else of what opened it; empty if it has only failed so far."""
    memo: bytes | None
    meta: dict[str, Any]
    """What the entry with the memo says."""
    opened: dict[str, Any]
    """What it waits for, if it was opened; `at` is when."""
    input: bytes | None
    """Its arguments, or what the server requested for it, as JSON without secrets."""
    request: bytes | None
    """What the server requested for it in this run, with secrets; None for other steps."""


class Past(NamedTuple):
    """What a run did, as far as another run may take it over."""

    run_id: str
    steps: Mapping[str, PastStep]
    """By hashed id, in the order in which the run came to them."""
    stack: Sequence[str]
    """Ids of those with a memo, in completion order."""

    @property
    def labels(self) -> list[str]:
        return [step.label for step in self.steps.values()]

    def find(self, name: str) -> PastStep:
        """The step of that id, name, or name and number.

        Raises:
            UnknownStepError: there is none.
        """
        step = self.steps.get(name)
        if step is not None:
            return step
        for known in self.steps.values():
            if name in (known.label, known.name):
                return known
        raise UnknownStepError(name, self.labels)


class Wish(NamedTuple):
    """What is asked of a fork; steps by any of their names."""

    keep: Sequence[str] | None = None
    """Steps whose results are taken over; None for all that have one."""
    before: str | None = None
    """Of those, only the ones that were completed before this step; it is executed again."""
    again: Sequence[str] = ()
    """Steps that are executed again, though they would be kept."""
    replace: Mapping[str, Any] = {}
    """Results in place of those of the run: `{"data": ...}` or `{"error": {"message": ..., ...}}`."""
    arguments: Sequence[Any] | None = None
    """Input with which the step of `before` is executed."""


class Setting(NamedTuple):
    """Where the new run will live."""

    sdk: str
    """Of the app, as it announced itself: `js:v4.24.0`."""
    takes_input: bool
    """Whether that SDK executes a step with an edited input."""
    limits: Limits
    now_ms: int
    new_id: str
    """A fresh ULID, for an event that is given as the result of a wait."""


def past_of(run_id: str, journal: Iterable[JournalRow]) -> Past:
    """Read a journal, which is whole and in order."""
    memos: dict[str, tuple[dict[str, Any], bytes | None]] = {}
    opened: dict[str, dict[str, Any]] = {}
    inputs: dict[str, bytes] = {}
    requests: dict[str, bytes] = {}
    names: dict[str, str] = {}
    for entry in journal:
        meta: dict[str, Any] = orjson.loads(entry.meta)
        step_id, payload = entry.step_id, entry.payload
        if not step_id or ("name" not in meta and entry.kind == JournalKind.TRIED):
            continue
        if entry.kind == JournalKind.MEMO and payload is not None:
            memos[step_id] = meta, payload
            if "input" in meta:
                inputs[step_id] = meta["input"].encode()
        elif entry.kind == JournalKind.OPENED:
            opened[step_id] = {**meta, "at": entry.at_ms}
            if payload is not None and meta["op"] in GATEWAY_OPS:
                inputs[step_id], requests[step_id] = public_input(payload), payload
            elif payload is not None:
                inputs[step_id] = payload
        elif entry.kind != JournalKind.TRIED:
            continue
        names[step_id] = names.get(step_id) or meta.get("name") or ""
    labels = _labels(names)
    steps: dict[str, PastStep] = {}
    none: tuple[dict[str, Any], bytes | None] = ({}, None)
    for step_id, name in names.items():
        meta, memo = memos.get(step_id, none)
        about = opened.get(step_id, {})
        # A memo that was taken over itself brings along what its step waited for.
        waited = meta.get("opened") or {key: about[key] for key in (*_OF_OPENED, "at") if key in about}
        steps[step_id] = PastStep(
            step_id,
            labels[step_id],
            name,
            meta.get("op") or about.get("op") or "",
            memo,
            meta,
            waited,
            inputs.get(step_id),
            requests.get(step_id),
        )
    return Past(run_id, steps, list(memos))


def _labels(names: Mapping[str, str]) -> dict[str, str]:
    counts: dict[str, int] = {}
    taken = set(names.values())
    labels: dict[str, str] = {}
    for step_id, name in names.items():
        number = counts[name] = counts.get(name, 0) + 1
        label = name if number == 1 else f"{name}#{number}"
        labels[step_id] = label if label and (number == 1 or label not in taken) else step_id
    return labels


def seed_of(past: Past, wish: Wish, setting: Setting) -> Seed:
    """What a new run begins with. A step that is neither kept nor replaced is executed again.

    Kept and replaced results stand in the order in which the run had them; those of steps that had none
    come last.

    Raises:
        ForkError: it is impossible; the message says what and why.
    """
    replaced = {past.find(name).step_id: given for name, given in wish.replace.items()}
    if len(replaced) < len(wish.replace):
        raise BadForkError("two results are given for one step")
    target = past.find(wish.before) if wish.before is not None else None
    kept = _kept(past, wish, target)
    if clash := sorted({past.find(name).label for name in wish.again if past.find(name).step_id in replaced}):
        raise BadForkError(f"step {clash[0]!r} can either get another result or be executed again")
    if target is not None and target.step_id in replaced:
        raise BadForkError(f"step {target.label!r} can either get another result or be executed again")
    entries: list[SeedEntry] = []
    room = KEPT_INPUT_BYTES_MAX
    for step_id in dict.fromkeys([*past.stack, *past.steps]):
        step = past.steps[step_id]
        if step_id not in replaced and step_id not in kept:
            continue
        if len(step.input or b"") > room:
            step = step._replace(input=None)
        room -= len(step.input or b"")
        if step_id in replaced:
            entries.append(_replaced(past, step, replaced[step_id], setting))
        else:
            entries.append(_taken(past, step))
    if wish.arguments is None:
        return _checked(Seed(entries), setting.limits)
    if target is None:
        raise BadForkError("an input is given, and no step from which to begin")
    entries.append(_opened(past, target, wish.arguments, setting))
    kind = "gateway" if target.opcode == AI else "step"
    return _checked(Seed(entries, target.step_id, kind), setting.limits)


def _kept(past: Past, wish: Wish, target: PastStep | None) -> Collection[str]:
    """Ids of the steps whose results are taken over as they are."""
    kept = list(past.stack)
    if target is not None and target.memo is not None:
        kept = kept[: kept.index(target.step_id)]
    if wish.keep is not None:
        chosen = {step.step_id: step for step in map(past.find, wish.keep)}
        for step in chosen.values():
            if step.memo is None:
                raise BadForkError(f"step {step.label!r} has no result to keep: it was not completed")
        kept = [step_id for step_id in kept if step_id in chosen]
    return set(kept) - {past.find(name).step_id for name in wish.again}


def _taken(past: Past, step: PastStep) -> SeedEntry:
    assert step.memo is not None
    meta = _meta(step, step.opcode)
    meta |= {key: step.meta[key] for key in _OF_MEMO if key in step.meta}
    # The run that executed it, however often it was taken over since.
    meta["kept"] = step.meta.get("kept", past.run_id)
    return SeedEntry(JournalKind.MEMO, step.step_id, meta, step.memo)


def _meta(step: PastStep, opcode: str) -> dict[str, Any]:
    meta: dict[str, Any] = {"op": opcode, "name": step.name}
    if step.opened:
        meta["opened"] = step.opened
    if step.input is not None:
        meta["input"] = step.input.decode()
    return meta


def _replaced(past: Past, step: PastStep, given: object, setting: Setting) -> SeedEntry:
    memo = _memo_of(step, given, setting)
    size_max = setting.limits.output_bytes_max
    if len(memo) > size_max:
        raise ForkTooLargeError(
            f"the result given for step {step.label!r} takes {len(memo)} bytes, at most {size_max} are kept"
        )
    opcode = step.opcode
    if opcode in (*_RUN_BY_APP, "Step"):
        opcode = "StepFailed" if memo.startswith(b'{"error":') else "StepRun"
    meta = {**_meta(step, opcode), "edited": past.run_id}
    return SeedEntry(JournalKind.MEMO, step.step_id, meta, memo)


def _memo_of(step: PastStep, given: object, setting: Setting) -> bytes:
    """A given result as SDKs read it. Source: protocol 3.3 and 13.

    They take an object with one key `data` or `error` for a wrapper and anything else for the bare value, so
    neither may have siblings, and a wait's event is never wrapped.
    """
    shape = 'give {"data": ...}, or {"error": {"name": ..., "message": ...}}'
    fields = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    if len(fields) != 1 or not fields.keys() <= {"data", "error"}:
        raise BadResultError(step.label, "is not an object with the one key data or error", shape)
    if "error" in fields:
        if step.opcode in (_SLEEP, _WAIT_FOR_EVENT, _WAIT_FOR_SIGNAL):
            raise BadResultError(
                step.label, "is an error, and a wait has none", 'give a timeout: {"data": null}'
            )
        return b'{"error":' + json.dumps_kept(_error_of(step, fields["error"], shape)) + b"}"
    data = fields["data"]
    match step.opcode:
        case "Sleep":
            if data is not None:
                raise BadResultError(step.label, "is a value, and a sleep has none", 'give {"data": null}')
            return b"null"
        case "WaitForEvent":
            return b"null" if data is None else _event_of(step, data, setting)
        case "WaitForSignal":
            return b"null" if data is None else _signal_of(step, data)
        case _:
            return b'{"data":' + json.dumps_kept(data) + b"}"


def _error_of(step: PastStep, given: object, shape: str) -> dict[str, Any]:
    error = cast("dict[str, Any]", given) if isinstance(given, dict) else {}
    error = {"name": "Error", **error}
    if not (isinstance(error["name"], str) and isinstance(error.get("message"), str)):
        raise BadResultError(
            step.label, "is an error without the text message, or with a name that is no text", shape
        )
    return error


def _event_of(step: PastStep, data: object, setting: Setting) -> bytes:
    awaited: str = step.opened.get("event", "")
    hint = f'give the event {awaited!r}, such as {{"data": {{"data": {{}}}}}}, or null for a timeout'
    if isinstance(data, dict) and cast("dict[str, Any]", data).get("name", awaited) != awaited:
        raise BadResultError(step.label, "is an event of another name", hint)
    try:
        draft = read_event(cast("object", data), name=awaited)
    except InvalidEventsError as error:
        raise BadResultError(step.label, f"is no event: {error}", hint) from error
    event = make_event(draft, internal_id=setting.new_id, received_at_ms=setting.now_ms, repeatable=False)
    return event.body


def _signal_of(step: PastStep, data: object) -> bytes:
    signal = cast("dict[str, Any]", data) if isinstance(data, dict) else {}
    if signal.keys() != {"signal", "data"} or not isinstance(signal["signal"], str):
        name = json.dumps(step.opened.get("signal", "")).decode()
        hint = f'give {{"data": {{"signal": {name}, "data": ...}}}}, or null for a timeout'
        raise BadResultError(step.label, "is not what a signal brings", hint)
    return b'{"data":' + json.dumps_kept(signal) + b"}"


def _opened(past: Past, step: PastStep, arguments: Sequence[Any], setting: Setting) -> SeedEntry:
    """The step as if it had been opened, with the input that is given for it.

    What an SDK gets is the arguments; a request to an AI provider is the server's own affair.
    """
    if step.opcode == AI:
        opcode, text = AI, _edited_request(step, arguments)
    else:
        if step.opcode not in _RUN_BY_APP:
            raise InputNotEditableError(step.label, f"its code is not in the app, it is a {step.opcode}")
        if not setting.takes_input:
            language = setting.sdk.partition(":")[0] or "unknown"
            reason = f"the app's SDK ({language}) would take the input for the step's result"
            raise InputNotEditableError(step.label, reason)
        opcode, text = "StepPlanned", json.dumps_kept(list(arguments))
    size_max = setting.limits.input_bytes_max
    if len(text) > size_max:
        raise ForkTooLargeError(f"the input takes {len(text)} bytes, at most {size_max} are allowed")
    meta = {"op": opcode, "name": step.name, "edited": past.run_id}
    return SeedEntry(JournalKind.OPENED, step.step_id, meta, text)


def _edited_request(step: PastStep, arguments: Sequence[Any]) -> bytes:
    if step.request is None:
        raise InputNotEditableError(step.label, "the run took its result over and has no request of it")
    changes = arguments[0] if len(arguments) == 1 else None
    if not isinstance(changes, dict):
        raise BadForkError(
            f"the input of step {step.label!r} must be an array of one object: what to change in its body"
        )
    return with_body(step.request, cast("dict[str, Any]", changes))


def _checked(seed: Seed, limits: Limits) -> Seed:
    memos = [entry for entry in seed.entries if entry.kind is JournalKind.MEMO]
    if len(memos) >= limits.steps_max:
        raise ForkTooLargeError(
            f"{len(memos)} results are taken over, and a run may have {limits.steps_max} steps"
        )
    size = sum(len(entry.payload) for entry in seed.entries)
    if size > limits.state_bytes_max:
        raise ForkTooLargeError(
            f"what is taken over takes {size} bytes, and the state of a run at most {limits.state_bytes_max}"
        )
    return seed
