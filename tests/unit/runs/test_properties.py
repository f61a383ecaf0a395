"""What holds for every run, whatever apps answer and in whatever order facts come."""

from collections.abc import Container
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.runs.facts import (
    Answer,
    Answered,
    CancelRequested,
    Checkpointed,
    ChildEnded,
    EventArrived,
    Op,
    Reported,
    Returned,
    SignalArrived,
    WaitExpired,
)
from inngest_server.runs.records import ItemRow, JournalKind, WaitKind
from inngest_server.runs.run import Content, Limits
from tests.builders import RUN_ID
from tests.unit.runs.builders import Life, make_error, make_failure, make_op, make_reported

STEP_IDS = st.sampled_from("abcdefgh")
MODES = st.sampled_from([None, "wait", "race"])
TIMEOUTS = st.sampled_from(["", "1s", "1h", "-1s", "400d"])
RESULTS = st.sampled_from([None, 1, {}, {"data": 1}, "x" * 200])


@st.composite
def ops(draw: st.DrawFn) -> Op:
    code = draw(
        st.sampled_from(
            ["StepRun"] * 4
            + ["StepPlanned"] * 4
            + ["Sleep", "WaitForEvent", "WaitForSignal", "InvokeFunction", "Step", "StepFailed", "StepError"]
            + ["None", "DiscoveryRequest", "RunComplete"]
        )
    )
    opts = {
        "parallelMode": draw(MODES),
        "timeout": draw(TIMEOUTS),
        "duration": draw(st.sampled_from(["0", "5s", "2h", "never"])),
        "event": "shop/paid",
        "signal": draw(st.sampled_from(["red", "green"])),
        "conflict": draw(st.sampled_from([None, "replace"])),
        "function_id": "shop-child",
    }
    error = draw(st.sampled_from([make_error(), make_error(), None]))
    return make_op(code, draw(STEP_IDS), data=draw(RESULTS), error=error, opts=opts)


def answers() -> st.SearchStrategy[Answer]:
    reported = st.builds(
        lambda reported, version, no_retry: make_reported(*reported, version=version, no_retry=no_retry),
        st.lists(ops(), max_size=4),
        st.sampled_from([None, 0, 1, 2, 2]),
        st.sampled_from([False, False, True]),
    )
    failed = st.builds(make_failure, retriable=st.sampled_from([True, True, True, False]))
    often = st.one_of(reported, reported, reported, reported, failed)
    return st.one_of(often, often, often, st.just(Returned(b'{"ok":1}')))


def facts_of(life: Life) -> list[str]:
    """What could happen to the run now."""
    possible = ["cancel", "late"] if life.dispatches else ["cancel"]
    if life.sent:
        possible += ["answer"] * 6 + ["checkpoint", "lose", "restart"]
    if life.queued:
        possible += ["due"] * 2
    if life.run.waits:
        possible += ["expire", "arrive"]
    return possible


def live_on(life: Life, data: st.DataObject) -> None:
    match data.draw(st.sampled_from(facts_of(life)), "fact"):
        case "answer":
            life.answer(data.draw(answers()), data.draw(st.sampled_from(life.sent), "item"))
        case "late":
            item = data.draw(st.sampled_from(life.dispatches), "dispatch")
            life.take(Answered(RUN_ID, item.item_id, item.generation, data.draw(answers())))
        case "checkpoint":
            item = data.draw(st.sampled_from(life.sent), "item")
            results = [op for op in data.draw(st.lists(ops(), max_size=3)) if op.code != "RunComplete"]
            life.take(Checkpointed(RUN_ID, item.item_id, item.generation, tuple(results)))
        case "lose":
            life.lose(data.draw(st.sampled_from(life.sent), "item"))
        case "due":
            life.send_due()
        case "expire":
            wait = data.draw(st.sampled_from(list(life.run.waits.values())), "wait")
            life.now_ms = max(life.now_ms, wait.fires_at_ms)
            life.take(WaitExpired(RUN_ID, wait.wait_id))
        case "arrive":
            wait = data.draw(st.sampled_from(list(life.run.waits.values())), "wait")
            match wait.kind:
                case WaitKind.SIGNAL:
                    life.take(SignalArrived(RUN_ID, wait.wait_id, wait.name, b"1"))
                case WaitKind.INVOKE:
                    life.take(ChildEnded(RUN_ID, wait.wait_id, b'{"data":1}'))
                case WaitKind.EVENT:
                    life.take(EventArrived(RUN_ID, wait.wait_id, "internal-2", b'{"name":"shop/paid"}'))
                case _:
                    pass
        case "restart":
            life.run.content = life.reloaded()
        case _:
            life.take(CancelRequested(RUN_ID, "api"))


def state_of(content: Content) -> tuple[object, ...]:
    return (
        list(content.memos.items()),
        content.opened,
        content.pending,
        content.races,
        content.plan_only,
        content.version,
        content.state_bytes,
        content.next_n,
    )


LIMITS = Limits(steps_max=6, ops_per_response_max=4, state_bytes_max=900, output_bytes_max=300)


@given(data=st.data(), max_attempts=st.integers(1, 3), limits=st.sampled_from([Limits(), LIMITS]))
@settings(max_examples=150, deadline=None)
def test_every_life_keeps_the_promises(data: st.DataObject, max_attempts: int, limits: Limits) -> None:
    life = Life(max_attempts=max_attempts, limits=limits)
    memos: list[tuple[str, bytes]] = []

    for _ in range(data.draw(st.integers(1, 25), "facts")):
        live_on(life, data)

        # Living through it and reading the journal give the same state.
        assert state_of(life.reloaded()) == state_of(life.content)
        # A memo never changes, and the stack only grows.
        now = list(life.content.memos.items())
        assert now[: len(memos)] == memos
        memos = now
        assert life.content.state_bytes == sum(len(memo) for _, memo in memos)
        assert len(life.entries(JournalKind.MEMO)) == len(memos)
        if life.has_ended:
            break
        assert life.keeps_a_reason_to_wake
        # A step is requested by one item, and no item has more tries than allowed.
        assert len(set(life.targets)) == len(life.targets)
        assert all(item.attempt < max_attempts for item in life.run.items.values())

    if life.has_ended:
        assert not life.run.items
        assert not life.run.waits
        assert len(life.entries(JournalKind.ENDED)) == 1
        assert life.journal[-1].kind == JournalKind.ENDED
        assert len(life.published) == (1 if life.status == "Completed" else 2)
        assert life.run.row.ended_at_ms == life.now_ms


# Runs of apps that behave.


class Stage(NamedTuple):
    """Branches of steps that run beside each other, each branch one step after the other."""

    branches: tuple[tuple[str, ...], ...]
    mode: str

    def is_done(self, memos: Container[str]) -> bool:
        done = [all(step_id in memos for step_id in branch) for branch in self.branches]
        return any(done) if self.mode == "race" else all(done)

    def open_steps(self, memos: Container[str]) -> list[Op]:
        firsts = [next((one for one in branch if one not in memos), None) for branch in self.branches]
        return [make_op("StepPlanned", one, opts={"parallelMode": self.mode}) for one in firsts if one]


@st.composite
def programs(draw: st.DrawFn) -> list[Stage]:
    stages: list[Stage] = []
    shapes = st.lists(st.lists(st.integers(1, 2), min_size=1, max_size=3), min_size=1, max_size=4)
    for number, lengths in enumerate(draw(shapes)):
        branches = tuple(
            tuple(f"{number}-{branch}-{step}" for step in range(length))
            for branch, length in enumerate(lengths)
        )
        stages.append(Stage(branches, draw(st.sampled_from(["wait", "race"]))))
    return stages


def answer_of_sdk(program: list[Stage], life: Life, item: ItemRow) -> Answer:
    """What an official SDK answers: it reports again what is still open, the losers of races among it."""
    memos = life.content.memos
    if item.kind == "step":
        return make_reported(make_op("StepRun", item.step_id, data=item.step_id), version=None)
    found: list[Op] = []
    for stage in program:
        found += stage.open_steps(memos)
        if not stage.is_done(memos):
            break
    else:
        return Returned(b'"done"')
    if len(found) == 1 and not life.content.plan_only:
        return make_reported(make_op("StepRun", found[0].step_id, data=1), version=None)
    return make_reported(*found, version=None)


@given(data=st.data(), program=programs(), version=st.sampled_from([1, 2]))
@settings(max_examples=150, deadline=None)
def test_a_run_completes_though_the_losers_of_its_races_never_do(
    data: st.DataObject, program: list[Stage], version: int
) -> None:
    life = Life()
    never: set[str] = set()
    for stage in program:
        if stage.mode == "race":
            losers = data.draw(st.lists(st.sampled_from(stage.branches[1:] or [()]), max_size=2), "hang")
            never.update(branch[-1] for branch in losers if branch)

    while not life.has_ended:
        answerable = [item for item in life.sent if item.step_id not in never]
        assert answerable, f"stuck with {life.memos.keys()}, pending {life.content.pending}"
        item = data.draw(st.sampled_from(answerable), "item")
        if item.losses == 0 and data.draw(st.integers(0, 9), "luck") == 0:
            life.lose(item)
            continue
        answer = answer_of_sdk(program, life, item)
        if isinstance(answer, Reported):
            answer = answer._replace(version=version)
        life.answer(answer, item)

    assert life.status == "Completed"
    done = [stage.is_done(life.content.memos) for stage in program]
    assert all(done)
