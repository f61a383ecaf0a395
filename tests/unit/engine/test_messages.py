"""Messages to runs, as bytes and back."""

import pytest

from inngest_server.engine.messages import Message, StartAsked, decode, encode
from inngest_server.runs.facts import CancelRequested, ChildEnded, EventArrived
from tests.builders import RUN_ID


@pytest.mark.parametrize(
    "message",
    [
        ChildEnded(RUN_ID, f"{RUN_ID}.a", b'{"data":{"x":"\\u00fc \\" \xc3\xbc"}}'),
        EventArrived(RUN_ID, f"{RUN_ID}.a", "internal-2", b""),
        CancelRequested(RUN_ID, "api"),
        StartAsked("fn", "internal-2", "origin", 7, "cron", None, "0 * * * *", None, "begin", ["a.b", "c.d"]),
    ],
    ids=lambda message: type(message).__name__,
)
def test_a_message_comes_back_byte_for_byte(message: Message) -> None:
    assert decode(encode([message])) == [message]


def test_a_message_about_an_event_does_not_repeat_its_body() -> None:
    message = EventArrived(RUN_ID, f"{RUN_ID}.a", "internal-2", b'{"data":{}}')
    assert decode(encode([message])) == [message._replace(body=b"")]


def test_messages_about_one_event_are_stored_as_the_ids_of_its_waits() -> None:
    messages = [EventArrived(RUN_ID, f"{RUN_ID}.{step}", "internal-2", b"{}") for step in "abc"]
    body = encode(messages)
    assert decode(body) == [message._replace(body=b"") for message in messages]
    assert len(body) < 3 * 50
