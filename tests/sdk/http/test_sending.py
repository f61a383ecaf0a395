"""Sending events: what goes out, what comes back, and what is tried again."""

import base64
import functools
from collections.abc import AsyncIterator
from typing import Any

import pytest

import inngest
from inngest.errors import EventInvalidError, EventKeyUnspecifiedError, SendEventsError
from tests.sdk.http.server import Server

pytestmark = pytest.mark.usefixtures("no_backoff")


class Sender:
    """A client whose `send` is the asynchronous or the blocking one."""

    def __init__(self, client: inngest.Inngest, *, is_async: bool) -> None:
        self.client = client
        self._is_async = is_async

    async def send(self, *args: Any, **kwargs: Any) -> list[str]:
        if self._is_async:
            return await self.client.send(*args, **kwargs)
        return self.client.send_sync(*args, **kwargs)


@pytest.fixture
async def sender(server: Server, is_async: bool) -> AsyncIterator[Sender]:
    server.answers = [(200, {"ids": ["id-1"], "status": 200})]
    client = inngest.Inngest(app_id="app", base_url=server.url, event_key="key/1", env="branch")
    yield Sender(client, is_async=is_async)
    await client.aclose()


async def test_an_event_is_posted_with_key_seed_and_environment(sender: Sender, server: Server) -> None:
    ids = await sender.send(inngest.Event(name="a", data={"b": "é"}, id="x", ts=5))

    (asked,) = server.asked
    assert ids == ["id-1"]
    assert (asked.method, asked.target) == ("POST", "/e/key%2F1")
    assert asked.json() == [{"name": "a", "data": {"b": "é"}, "id": "x", "ts": 5}]
    assert asked.headers["content-type"] == "application/json"
    assert asked.headers["x-inngest-env"] == "branch"
    assert (
        asked.headers["x-inngest-sdk"] == asked.headers["user-agent"] == f"inngest-py:v{inngest.__version__}"
    )
    assert "authorization" not in asked.headers
    moment, entropy = asked.headers["x-inngest-event-id-seed"].split(",")
    assert len(moment) == 13
    assert len(base64.b64decode(entropy, validate=True)) == 10


@pytest.mark.parametrize(
    ("args", "kwargs", "sent"),
    [
        ((inngest.Event(name="a"),), {}, [{"name": "a", "data": {}}]),
        (({"name": "a", "data": {"b": 1}, "id": "x"},), {}, [{"name": "a", "data": {"b": 1}, "id": "x"}]),
        (([inngest.Event(name="a")],), {}, [{"name": "a", "data": {}}]),
        (([{"name": "a"}],), {}, [{"name": "a", "data": {}}]),
        ((), {"name": "a", "data": {"b": 1}, "ts": 9}, [{"name": "a", "data": {"b": 1}, "ts": 9}]),
        ((), {"events": {"name": "a"}}, [{"name": "a", "data": {}}]),
        ((), {"name": "a", "id": "", "ts": 0}, [{"name": "a", "data": {}}]),
    ],
)
async def test_events_are_taken_in_each_of_their_forms(
    args: tuple[Any, ...], kwargs: dict[str, Any], sent: Any, sender: Sender, server: Server
) -> None:
    await sender.send(*args, **kwargs)

    assert server.asked[0].json() == sent


@pytest.mark.parametrize(
    ("args", "kwargs", "kind"),
    [
        ((), {}, TypeError),
        ((), {"data": {}}, TypeError),
        ((), {"name": "a", "foo": 1}, TypeError),
        ((inngest.Event(name="a"),), {"name": "b"}, TypeError),
        (("a",), {}, EventInvalidError),
        ((5,), {}, EventInvalidError),
        (([5],), {}, EventInvalidError),
        ((inngest.Event(name=""),), {}, EventInvalidError),
        ((inngest.Event(name="a", data={"b": object()}),), {}, EventInvalidError),
    ],
)
async def test_what_is_no_event_is_refused_before_anything_is_sent(
    args: tuple[Any, ...], kwargs: dict[str, Any], kind: type[Exception], sender: Sender, server: Server
) -> None:
    with pytest.raises(kind):
        await sender.send(*args, **kwargs)
    assert server.asked == []


async def test_data_without_a_json_form_is_named(sender: Sender) -> None:
    with pytest.raises(EventInvalidError, match=r"event 'a'\.data\.b\[1\] is a set"):
        await sender.send(inngest.Event(name="a", data={"b": [1, {2}]}))


async def test_nothing_is_sent_for_an_empty_list(sender: Sender, server: Server) -> None:
    assert await sender.send([]) == []
    assert server.asked == []


async def test_ids_are_in_the_order_of_the_events(sender: Sender, server: Server) -> None:
    server.answers = [(200, {"ids": ["1", "2"], "status": 200})]

    assert await sender.send([inngest.Event(name="a"), inngest.Event(name="b")]) == ["1", "2"]


@pytest.mark.parametrize("trouble", [(500, {}), (503, "busy"), (0, "")])
async def test_a_server_in_trouble_is_tried_again_with_the_same_seed(
    trouble: Any, sender: Sender, server: Server
) -> None:
    server.answers = [trouble, trouble, (200, {"ids": ["id-1"], "status": 200})]

    assert await sender.send(inngest.Event(name="a")) == ["id-1"]
    assert len(server.asked) == 3
    assert len({asked.headers["x-inngest-event-id-seed"] for asked in server.asked}) == 1


async def test_five_tries_are_made(sender: Sender, server: Server) -> None:
    server.answers = [(502, {"error": "no storage"})]

    with pytest.raises(SendEventsError, match=r"HTTP 502.*no storage") as caught:
        await sender.send(inngest.Event(name="a"))
    assert len(server.asked) == 5
    assert caught.value.status == 502


async def test_two_sends_have_different_seeds(sender: Sender, server: Server) -> None:
    await sender.send(inngest.Event(name="a"))
    await sender.send(inngest.Event(name="a"))

    assert len({asked.headers["x-inngest-event-id-seed"] for asked in server.asked}) == 2


async def test_a_refusal_is_final_and_tells_what_the_server_said(sender: Sender, server: Server) -> None:
    server.answers = [(400, {"error": "event name is reserved", "ids": ["id-1"], "status": 400})]

    with pytest.raises(SendEventsError, match="event name is reserved") as caught:
        await sender.send([inngest.Event(name="a"), inngest.Event(name="inngest/b")])
    assert len(server.asked) == 1
    assert caught.value.ids == ["id-1"]


async def test_a_refused_key_is_explained(sender: Sender, server: Server) -> None:
    server.answers = [(401, {"error": "Event key not found", "status": 401})]

    with pytest.raises(
        SendEventsError, match=r"refused the event key: Event key not found.*INNGEST_EVENT_KEY"
    ):
        await sender.send(inngest.Event(name="a"))


@pytest.mark.parametrize("body", [{}, {"ids": []}, {"ids": ["1", "2"]}, "<html>", [], {"ids": "x"}])
async def test_an_answer_that_is_none_is_an_error(body: Any, sender: Sender, server: Server) -> None:
    server.answers = [(200, body)]

    with pytest.raises(SendEventsError, match="ids for 1 events"):
        await sender.send(inngest.Event(name="a"))


async def test_an_error_in_a_good_status_is_an_error(sender: Sender, server: Server) -> None:
    server.answers = [(200, {"ids": ["1"], "status": 400, "error": "no"})]

    with pytest.raises(SendEventsError, match="no"):
        await sender.send(inngest.Event(name="a"))


async def test_production_needs_an_event_key(server: Server, is_async: bool) -> None:
    client = inngest.Inngest(app_id="app", base_url=server.url)

    with pytest.raises(EventKeyUnspecifiedError, match=r"INNGEST_EVENT_KEY.*INNGEST_DEV=1"):
        await Sender(client, is_async=is_async).send(inngest.Event(name="a"))


async def test_a_dev_server_gets_a_word_in_place_of_the_key(server: Server, is_async: bool) -> None:
    server.answers = [(200, {"ids": ["1"], "status": 200})]
    client = inngest.Inngest(app_id="app", base_url=server.url, is_production=False)

    await Sender(client, is_async=is_async).send(inngest.Event(name="a"))

    assert server.asked[0].target == "/e/NO_EVENT_KEY_SET"
    await client.aclose()


async def test_an_unreachable_dev_server_is_explained(is_async: bool) -> None:
    client = inngest.Inngest(app_id="app", base_url="http://127.0.0.1:1", is_production=False)

    with pytest.raises(SendEventsError, match="is the dev server running there") as caught:
        await Sender(client, is_async=is_async).send(inngest.Event(name="a"))
    assert caught.value.status is None
    await client.aclose()


async def test_connections_are_kept(sender: Sender, server: Server) -> None:
    for _ in range(5):
        await sender.send(inngest.Event(name="a"))

    assert server.connections == 1


# Middleware.


class Recorder(inngest.MiddlewareSync):
    """Adds an event, and notes what it sees."""

    def __init__(
        self, client: Any, raw_request: object, *, name: str = "", seen: list[Any] | None = None
    ) -> None:
        self.name = name
        self.seen = seen if seen is not None else []

    def before_send_events(self, events: list[inngest.Event]) -> None:
        self.seen.append(f"before {self.name}")
        events.append(inngest.Event(name=f"added by {self.name}"))

    def after_send_events(self, result: inngest.SendEventsResult) -> None:
        self.seen.append((f"after {self.name}", result.error, result.ids))


def recorders(seen: list[Any]) -> list[Any]:
    return [functools.partial(Recorder, name=name, seen=seen) for name in "xy"]


async def test_middleware_may_change_the_events_and_sees_the_ids(server: Server, is_async: bool) -> None:
    seen: list[Any] = []
    server.answers = [(200, {"ids": ["1", "2", "3"], "status": 200})]
    client = inngest.Inngest(app_id="app", base_url=server.url, event_key="k", middleware=recorders(seen))

    await Sender(client, is_async=is_async).send(inngest.Event(name="a"))

    assert [event["name"] for event in server.asked[0].json()] == ["a", "added by x", "added by y"]
    ids = ["1", "2", "3"]
    assert seen == ["before x", "before y", ("after y", None, ids), ("after x", None, ids)]
    await client.aclose()


async def test_middleware_sees_the_error(server: Server, is_async: bool) -> None:
    seen: list[Any] = []
    server.answers = [(400, {"error": "bad", "ids": ["1"], "status": 400})]
    client = inngest.Inngest(app_id="app", base_url=server.url, event_key="k", middleware=recorders(seen)[:1])

    with pytest.raises(SendEventsError):
        await Sender(client, is_async=is_async).send(inngest.Event(name="a"))

    name, error, ids = seen[1]
    assert (name, ids) == ("after x", ["1"])
    assert "bad" in error
    await client.aclose()


async def test_middleware_may_be_skipped(server: Server, is_async: bool) -> None:
    seen: list[Any] = []
    server.answers = [(200, {"ids": ["1"], "status": 200})]
    client = inngest.Inngest(app_id="app", base_url=server.url, event_key="k", middleware=recorders(seen))

    await Sender(client, is_async=is_async).send(inngest.Event(name="a"), skip_middleware=True)

    assert seen == []
    await client.aclose()
