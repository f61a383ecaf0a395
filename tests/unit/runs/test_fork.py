"""What another run takes over: chosen by name, replaced as SDKs read it, in the order of the stack."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.runs.decision import Decision
from inngest_server.runs.facts import ChildEnded, EventArrived, Fetched
from inngest_server.runs.fork import (
    KEPT_INPUT_BYTES_MAX,
    BadForkError,
    BadResultError,
    ForkTooLargeError,
    InputNotEditableError,
    Past,
    Setting,
    UnknownStepError,
    Wish,
    past_of,
    seed_of,
)
from inngest_server.runs.opcodes.gateway import read_stored
from inngest_server.runs.records import JournalKind
from inngest_server.runs.run import Content, Limits, Run
from inngest_server.runs.seed import Planted, Seed, plant
from inngest_server.wire import json
from tests.builders import RUN_ID, SECOND_MS, T0_MS, make_ulid
from tests.unit.runs.builders import EVENT_BODY, Life, make_error, make_op, planned, ran
from tests.unit.runs.test_properties import live_on, state_of
from tests.unit.runs.test_start import make_new_run

PARENT_ID = make_ulid(9)
FORKED_MS = T0_MS + 3_600 * SECOND_MS


def setting(**changes: Any) -> Setting:
    return Setting(
        **{
            "sdk": "js:v4.24.0",
            "takes_input": True,
            "limits": Limits(),
            "now_ms": FORKED_MS,
            "new_id": make_ulid(5),
            **changes,
        }
    )


def past(life: Life) -> Past:
    return past_of(PARENT_ID, life.journal)


def seed(life: Life, wish: Wish, **changes: Any) -> Seed:
    return seed_of(past(life), wish, setting(**changes))


def taken(life: Life, wish: Wish, **changes: Any) -> dict[str, Any]:
    """Step id to memo, in the order of the stack."""
    return {entry.step_id: json.parse(entry.payload) for entry in seed(life, wish, **changes).entries}


def planted(life: Life, wish: Wish, **changes: Any) -> Planted:
    new = make_new_run()
    row = new.row._replace(created_at_ms=FORKED_MS)
    new = new._replace(row=row, first_item=new.first_item._replace(queued_at_ms=FORKED_MS))
    return plant(new, seed(life, wish, **changes), FORKED_MS)


class Fork(Life):
    """A run that begins with what another one left it."""

    def __init__(self, parent: Life, wish: Wish, **changes: Any) -> None:
        super().__init__(**changes)
        self.now_ms = FORKED_MS
        new, self.journal = planted(parent, wish)
        self.run = Run(new.row, new.content)
        self.dispatches.clear()
        self.event_body = new.content.event_body
        self._place(new.first_item)


def three_steps() -> Life:
    life = Life()
    for step_id in ("load", "charge", "mail"):
        life.report(ran(step_id, {"of": step_id}, displayName=f"{step_id} it"))
    return life


def parallel() -> Life:
    """Three planned steps, the last of which is done first and the second not yet."""
    life = Life()
    life.report(*planned("a", "b", "c"))
    life.report_step(ran("c", 3))
    life.report_step(ran("a", 1))
    return life


def some_life(data: st.DataObject) -> Life:
    """A run that has done something, at a moment when anything may have happened to it."""
    life = Life(max_attempts=2)
    for step_id in data.draw(st.lists(st.sampled_from("pqrs"), max_size=3, unique=True), "done at first"):
        life.report(ran(step_id, step_id))
    for _ in range(data.draw(st.integers(0, 15), "facts")):
        live_on(life, data)
        if life.has_ended:
            break
    return life


# Which steps are kept.


def test_all_results_are_kept_in_the_order_of_the_stack() -> None:
    assert taken(parallel(), Wish()) == {"c": {"data": 3}, "a": {"data": 1}}
    assert list(taken(parallel(), Wish())) == ["c", "a"]


def test_chosen_results_are_kept_whatever_the_order_they_are_named_in() -> None:
    assert list(taken(three_steps(), Wish(keep=["mail it", "load"]))) == ["load", "mail"]
    assert taken(three_steps(), Wish(keep=[])) == {}


def test_a_step_that_is_executed_again_leaves_the_others_kept() -> None:
    assert list(taken(three_steps(), Wish(again=["charge it"]))) == ["load", "mail"]


def test_from_a_step_on_only_what_was_completed_before_it_is_kept() -> None:
    assert list(taken(three_steps(), Wish(before="mail"))) == ["load", "charge"]
    assert list(taken(parallel(), Wish(before="a"))) == ["c"]
    assert list(taken(parallel(), Wish(before="c"))) == []


def test_from_a_step_without_a_result_everything_completed_is_kept() -> None:
    assert list(taken(parallel(), Wish(before="b"))) == ["c", "a"]


def test_a_step_that_only_failed_so_far_is_known_by_its_name() -> None:
    life = three_steps()
    error = make_op("StepError", "pay", error=make_error(), displayName="pay it")
    life.report(error)
    assert past(life).find("pay it").memo is None
    assert list(taken(life, Wish(before="pay it"))) == ["load", "charge", "mail"]


def test_a_step_whose_name_is_repeated_is_named_by_its_number() -> None:
    life = Life()
    for step_id in ("x1", "x2", "x3"):
        life.report(ran(step_id, step_id, displayName="poll"))
    assert past(life).labels == ["poll", "poll#2", "poll#3"]
    assert list(taken(life, Wish(keep=["poll", "poll#3"]))) == ["x1", "x3"]


def test_a_number_that_is_another_steps_own_name_means_that_step() -> None:
    life = Life()
    for step_id, name in (("x1", "poll"), ("x2", "poll"), ("x3", "poll#2")):
        life.report(ran(step_id, step_id, displayName=name))
    assert past(life).labels == ["poll", "x2", "poll#2"]
    assert past(life).find("poll#2").step_id == "x3"


def test_an_unknown_step_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownStepError) as caught:
        seed(three_steps(), Wish(keep=["refund"]))
    assert caught.value.steps == ["load it", "charge it", "mail it"]
    assert "load it, charge it, mail it" in caught.value.hint


@pytest.mark.parametrize(
    "wish",
    [
        Wish(keep=["b"]),
        Wish(again=["a"], replace={"a": {"data": 1}}),
        Wish(before="a", replace={"a": {"data": 1}}),
        Wish(arguments=[1]),
    ],
    ids=["no result to keep", "again and replaced", "from it and replaced", "input of no step"],
)
def test_wishes_that_contradict_themselves_are_refused(wish: Wish) -> None:
    with pytest.raises(BadForkError):
        seed(parallel(), wish)


def test_two_results_for_one_step_are_refused() -> None:
    with pytest.raises(BadForkError, match="two results"):
        seed(three_steps(), Wish(replace={"load": {"data": 1}, "load it": {"data": 2}}))


# Replaced results.


def test_a_replaced_result_stands_where_the_first_one_stood() -> None:
    found = taken(three_steps(), Wish(replace={"charge it": {"data": {"paid": True}}}))
    assert list(found) == ["load", "charge", "mail"]
    assert found["charge"] == {"data": {"paid": True}}


def test_a_step_that_was_not_completed_gets_its_result_last() -> None:
    found = taken(parallel(), Wish(replace={"b": {"error": {"message": "gone"}}}))
    assert found == {"c": {"data": 3}, "a": {"data": 1}, "b": {"error": {"name": "Error", "message": "gone"}}}
    assert list(found) == ["c", "a", "b"]


def test_results_of_replaced_steps_alone_are_a_seed_too() -> None:
    assert taken(three_steps(), Wish(keep=[], replace={"mail": {"data": None}})) == {"mail": {"data": None}}


@pytest.mark.parametrize(
    "given_result",
    [
        5,
        None,
        {},
        {"data": 1, "error": {"message": "m"}},
        {"data": 1, "type": "data"},
        {"input": []},
        {"error": "boom"},
        {"error": {"name": "Error"}},
        {"error": {"name": 5, "message": "m"}},
    ],
)
def test_what_sdks_would_misread_as_a_result_is_refused(given_result: object) -> None:
    with pytest.raises(BadResultError):
        seed(three_steps(), Wish(replace={"load": given_result}))


def waiting() -> Life:
    """It sleeps, waits for an event and a signal, and has invoked a function."""
    life = Life()
    life.report(
        make_op("Sleep", "nap", opts={"duration": "1h"}),
        make_op("WaitForEvent", "paid", opts={"event": "shop/paid", "timeout": "1d"}),
        make_op("WaitForSignal", "red", opts={"signal": "red", "timeout": "1d"}),
        make_op("InvokeFunction", "child", opts={"function_id": "shop-child"}),
    )
    return life


def test_waits_get_what_their_steps_return() -> None:
    event = {"data": {"sum": 5}, "user": {"id": 1}}
    found = taken(
        waiting(),
        Wish(
            replace={
                "nap": {"data": None},
                "paid": {"data": event},
                "red": {"data": {"signal": "red", "data": [1]}},
                "child": {"data": "result"},
            }
        ),
    )
    assert found["nap"] is None
    assert found["paid"] == {**event, "id": make_ulid(5), "name": "shop/paid", "ts": FORKED_MS}
    assert found["red"] == {"data": {"signal": "red", "data": [1]}}
    assert found["child"] == {"data": "result"}


@pytest.mark.parametrize("step", ["paid", "red", "nap"])
def test_a_wait_may_have_timed_out(step: str) -> None:
    assert taken(waiting(), Wish(replace={step: {"data": None}})) == {step: None}


@pytest.mark.parametrize(
    ("step", "given_result"),
    [
        ("nap", {"data": 1}),
        ("nap", {"error": make_error()}),
        ("paid", {"data": 1}),
        ("paid", {"data": {"data": 5}}),
        ("paid", {"data": {"name": "shop/other"}}),
        ("paid", {"error": make_error()}),
        ("red", {"data": 1}),
        ("red", {"data": {"signal": "red"}}),
        ("red", {"data": {"signal": 1, "data": 1}}),
        ("red", {"error": make_error()}),
    ],
)
def test_what_a_wait_never_returns_is_refused(step: str, given_result: object) -> None:
    with pytest.raises(BadResultError):
        seed(waiting(), Wish(replace={step: given_result}))


# An edited input.


def test_an_edited_input_makes_the_first_request_that_of_its_step() -> None:
    new, journal = planted(three_steps(), Wish(before="charge", arguments=[{"sum": 5}]))
    assert [(entry.kind, entry.step_id) for entry in journal] == [
        (JournalKind.MEMO, "load"),
        (JournalKind.OPENED, "charge"),
    ]
    assert list(new.content.memos) == ["load"]
    assert new.content.inputs == {"charge": b'{"input":[{"sum":5}]}'}
    item = new.first_item
    assert (item.item_id, item.kind, item.step_id) == (f"{RUN_ID}.charge", "step", "charge")


def test_the_run_goes_on_after_the_step_with_the_edited_input() -> None:
    life = Fork(three_steps(), Wish(before="charge", arguments=[5]))
    assert life.targets == ["charge"]
    life.report_step(ran("charge", "again"))
    assert life.stack == ["load", "charge"]
    assert len(life.discoveries) == 1
    life.complete()
    assert (life.status, life.stack) == ("Completed", ["load", "charge"])


def test_a_failed_try_is_repeated_with_the_edited_input() -> None:
    life = Fork(three_steps(), Wish(before="charge", arguments=[5]))
    life.report_step(make_op("StepError", "charge", error=make_error()))
    life.run.content = life.reloaded()
    life.send_due()
    assert life.targets == ["charge"]
    assert life.content.inputs == {"charge": b'{"input":[5]}'}


@pytest.mark.parametrize("sdk", ["py:v0.5.19", "go:v0.11.0", ""])
def test_apps_that_take_an_input_for_a_result_get_none(sdk: str) -> None:
    with pytest.raises(InputNotEditableError) as caught:
        seed(three_steps(), Wish(before="charge", arguments=[5]), sdk=sdk, takes_input=False)
    assert caught.value.code == "input_not_editable"
    assert "replace" in caught.value.hint


@pytest.mark.parametrize("step", ["nap", "paid", "red", "child"])
def test_steps_without_code_in_the_app_have_no_input_to_edit(step: str) -> None:
    with pytest.raises(InputNotEditableError):
        seed(waiting(), Wish(before=step, arguments=[5]))


def asked(**opts: Any) -> Life:
    """The server asked an AI provider for a step, and got an answer."""
    body = {"messages": ["hello"], "model": "gpt"}
    request = {"url": "http://ai.test/v1?key=k", "format": "openai-chat", "auth_key": "sk-1", "body": body}
    life = Life()
    life.report(ran("load", 1))
    life.report(make_op("AIGateway", "ask", opts={**request, **opts}))
    life.answer(Fetched(b'{"answer":1}'))
    return life


@pytest.mark.parametrize("sdk", ["py:v0.5.19", "js:v4.24.0"])
def test_an_edited_ai_request_is_made_by_the_server_for_any_sdk(sdk: str) -> None:
    wish = Wish(before="ask", arguments=[{"messages": ["goodbye"]}])
    new, _ = planted(asked(), wish, sdk=sdk)
    item = new.first_item
    assert (item.item_id, item.kind, item.stack_index) == (f"{RUN_ID}.ask", "gateway", 1)
    request = read_stored(new.content.requests["ask"])
    assert request.body == {"messages": ["goodbye"], "model": "gpt"}
    assert (request.url, request.auth_key) == ("http://ai.test/v1?key=k", "sk-1")
    assert new.content.inputs == {}


def test_the_run_goes_on_with_the_answer_to_an_edited_ai_request() -> None:
    life = Fork(asked(), Wish(before="ask", arguments=[{"messages": ["goodbye"]}]))
    life.answer(Fetched(b'{"answer":2}'))
    assert life.memos == {"load": {"data": 1}, "ask": {"data": {"answer": 2}}}
    assert [item.kind for item in life.sent] == ["discovery"]
    life.complete()
    assert life.status == "Completed"


def test_no_secret_of_a_request_is_taken_over_with_its_result() -> None:
    (load, ask) = seed(asked(), Wish()).entries
    assert b"sk-1" not in json.dumps(ask.meta)
    assert b"key=k" not in json.dumps(ask.meta)
    assert json.parse(ask.meta["input"].encode())["body"] == {"messages": ["hello"], "model": "gpt"}
    assert load.meta.get("input") is None


def test_a_request_that_this_run_never_made_cannot_be_edited() -> None:
    fork = Fork(asked(), Wish())
    with pytest.raises(InputNotEditableError):
        seed(fork, Wish(before="ask", arguments=[{}]))


@pytest.mark.parametrize("arguments", [[], [1], [{}, {}]])
def test_an_edited_ai_request_is_one_object(arguments: list[Any]) -> None:
    with pytest.raises(BadForkError):
        seed(asked(), Wish(before="ask", arguments=arguments))


# Bounds.


def test_a_run_that_could_not_be_sent_is_not_begun() -> None:
    with pytest.raises(ForkTooLargeError, match="3 steps"):
        seed(three_steps(), Wish(), limits=Limits(steps_max=3))
    assert len(seed(three_steps(), Wish(), limits=Limits(steps_max=4)).entries) == 3


@pytest.mark.parametrize(
    ("wish", "limits"),
    [
        (Wish(replace={"load": {"data": "x" * 90}}), Limits(output_bytes_max=100)),
        (Wish(replace={"load": {"data": "x" * 90}}), Limits(state_bytes_max=130)),
        (Wish(before="charge", arguments=["x" * 90]), Limits(input_bytes_max=92)),
        (Wish(before="charge", arguments=["x" * 90]), Limits(state_bytes_max=100)),
    ],
)
def test_what_is_larger_than_a_run_may_hold_is_refused(wish: Wish, limits: Limits) -> None:
    with pytest.raises(ForkTooLargeError):
        seed(three_steps(), wish, limits=limits)


def test_arguments_are_taken_over_as_long_as_they_are_few() -> None:
    life = Life()
    text = "x" * (200 * 1024)
    for number in range(30):
        life.report(ran(f"s{number}", number, opts={"input": [text]}))
    kept = [len(entry.meta.get("input", "")) for entry in seed(life, Wish()).entries]
    assert kept[0] == len(text) + 4
    assert KEPT_INPUT_BYTES_MAX - len(text) - 4 < sum(kept) <= KEPT_INPUT_BYTES_MAX


# How the new run goes on.


def test_a_fork_of_a_parallel_group_asks_for_all_that_is_not_kept() -> None:
    life = Fork(parallel(), Wish())
    (item,) = life.sent
    assert (item.kind, item.stack_index) == ("discovery", 2)
    assert (life.content.plan_only, life.content.pending, life.content.version) == (False, set(), -1)
    life.report(ran("b", 2))
    life.complete()
    assert (life.status, life.stack) == ("Completed", ["c", "a", "b"])


def test_steps_that_were_open_are_opened_again() -> None:
    life = Fork(waiting(), Wish(replace={"nap": {"data": None}}))
    life.report(make_op("InvokeFunction", "child", opts={"function_id": "shop-child"}))
    (child,) = life.children
    assert child.correlation_id == f"{RUN_ID}.child"
    life.take(ChildEnded(RUN_ID, child.correlation_id, b'{"data":1}'))
    assert life.stack == ["nap", "child"]


def test_a_fork_of_a_fork_names_the_run_that_executed_the_step() -> None:
    first = Fork(three_steps(), Wish(replace={"charge": {"data": 1}}))
    first.report(ran("send", 4))
    entries = past_of(RUN_ID, first.journal)
    found = seed_of(entries, Wish(), setting()).entries
    assert [entry.meta["kept"] for entry in found] == [PARENT_ID, RUN_ID, PARENT_ID, RUN_ID]
    assert "edited" not in found[1].meta


def test_what_a_wait_was_for_comes_along_however_often_it_is_taken_over() -> None:
    life = waiting()
    life.take(EventArrived(RUN_ID, f"{RUN_ID}.paid", "internal-2", b'{"name":"shop/paid"}'))
    first = Fork(life, Wish())
    for journal in (life.journal, first.journal):
        (entry,) = seed_of(past_of(RUN_ID, journal), Wish(), setting()).entries
        assert entry.meta["event"] == "internal-2"
        assert entry.meta["opened"]["event"] == "shop/paid"
        assert entry.meta["opened"]["at"] == T0_MS


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_every_life_can_be_forked_and_lived_on(data: st.DataObject) -> None:
    life = some_life(data)
    labels = past(life).labels
    fates = data.draw(st.lists(st.sampled_from("krax"), min_size=len(labels), max_size=len(labels)), "fates")
    pairs = list(zip(labels, fates, strict=True))
    by_fate = {fate: [label for label, one in pairs if one == fate] for fate in "krax"}
    done = [label for label in by_fate["k"] if past(life).find(label).memo is not None]
    wish = Wish(
        keep=data.draw(st.sampled_from([None, done]), "keep"),
        again=by_fate["a"],
        replace={label: {"data": None} for label in by_fate["r"]},
    )
    try:
        fork = Fork(life, wish, max_attempts=2)
    except ForkTooLargeError:
        return

    # A kept memo is the very same one, in the same order; every other one was asked for.
    replaced = {past(life).find(name).step_id for name in wish.replace}
    kept = [step_id for step_id in fork.stack if step_id not in replaced]
    assert [step_id for step_id in life.stack if step_id in kept] == kept
    assert all(fork.content.memos[step_id] == life.content.memos[step_id] for step_id in kept)
    assert replaced <= set(fork.stack)
    assert not {past(life).find(name).step_id for name in wish.again} & set(fork.stack)

    for _ in range(data.draw(st.integers(1, 10), "further facts")):
        live_on(fork, data)
        assert state_of(fork.reloaded()) == state_of(fork.content)
        if fork.has_ended:
            break
        assert fork.keeps_a_reason_to_wake


def test_a_seed_that_is_empty_changes_nothing_but_the_time() -> None:
    new = make_new_run()
    assert plant(new, Seed(), T0_MS) == Planted(new, [])


def test_what_is_folded_is_what_is_sent() -> None:
    new, journal = planted(three_steps(), Wish())
    content = Content(EVENT_BODY)
    for entry in journal:
        content.fold(entry)
    assert state_of(content) == state_of(new.content)
    assert [entry.n for entry in journal] == [1, 2, 3]
    assert Decision(Run(new.row, new.content)).next_n == 4
