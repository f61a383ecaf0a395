"""The content of a run is a fold of its journal."""

import pytest

from inngest_server.runs.records import JournalKind
from inngest_server.runs.run import Content
from inngest_server.wire import json
from tests.builders import make_journal_entry
from tests.unit.runs.builders import EVENT_BODY, Life, make_op, planned, ran


def make_content() -> Content:
    return Content(EVENT_BODY)


def test_a_new_run_has_decided_and_done_nothing() -> None:
    content = make_content()
    assert (content.version, content.plan_only, content.memos, content.state_bytes) == (-1, False, {}, 0)


def test_the_event_is_parsed_once() -> None:
    content = make_content()
    assert content.event["data"] == {"a": 1}
    assert content.event is content.event


def test_memos_are_counted_in_bytes_as_they_are_sent() -> None:
    content = make_content()
    content.fold(make_journal_entry(n=1, step_id="a", payload=b'{"data":1}'))
    content.fold(make_journal_entry(n=2, step_id="b", payload=b"null"))
    assert content.state_bytes == 14


@pytest.mark.parametrize("n", [0, 2])
def test_a_gap_in_the_journal_is_noticed(n: int) -> None:
    with pytest.raises(AssertionError, match="after 0"):
        make_content().fold(make_journal_entry(n=n))


@pytest.mark.parametrize("kind", [JournalKind.TRIED, JournalKind.SENT_AGAIN, JournalKind.ENDED])
def test_entries_about_requests_do_not_change_what_is_sent(kind: JournalKind) -> None:
    content = make_content()
    content.fold(make_journal_entry(kind=kind, payload=b'{"name":"Error"}'))
    assert (content.memos, content.opened, content.state_bytes) == ({}, {}, 0)


def test_texts_of_users_are_never_taken_for_keys_of_the_journal() -> None:
    life = Life()
    name = '"v":1,"plan":true,"done":true,"late":true,"pending":["x"]'

    life.report(ran("a", {"v": 1, "plan": True}, displayName=name), version=2)

    assert (life.content.version, life.content.plan_only, life.content.pending) == (2, False, set())


def test_a_step_is_open_from_its_report_until_its_memo() -> None:
    life = Life()
    life.report(*planned("a"), make_op("Sleep", "s", name="1h"))
    assert life.content.opened == {"a": "StepPlanned", "s": "Sleep"}
    life.report_step(ran("a"))
    assert life.content.opened == {"s": "Sleep"}


def test_the_journal_alone_gives_the_state_back() -> None:
    life = Life()
    life.report(*planned("a", "b"), make_op("Sleep", "s", name="1h"))
    life.report_step(ran("b", "ü"))

    content = life.reloaded()

    assert content.memos == life.content.memos
    assert (content.pending, content.opened) == ({"a", "s"}, {"a": "StepPlanned", "s": "Sleep"})
    assert (content.version, content.plan_only, content.next_n) == (2, True, life.content.next_n)


def test_entries_tell_who_reads_the_trace_when_and_how_a_step_ran() -> None:
    life = Life()
    life.pass_time()
    life.report(ran("a", 1, displayName="Charge card"))
    (entry,) = life.entries(JournalKind.MEMO)
    meta = json.parse(entry.meta)
    assert entry.at_ms == life.now_ms
    assert (meta["op"], meta["name"], meta["attempt"]) == ("StepRun", "Charge card", 0)
    assert meta["queued"] <= meta["sent"] <= entry.at_ms
