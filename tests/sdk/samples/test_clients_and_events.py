"""Samples that make a client, send events, or describe events by models."""

import asyncio
import os
from types import SimpleNamespace
from typing import Any

import httpx
import pydantic
import pytest

import inngest
from inngest_server.testing import World
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.play import error_of, run, serve_functions
from tests.sdk.samples.shown import in_handler, put, python_comments


@pytest.mark.parametrize(
    ("sample", "app_id"),
    [
        ("PY-04", "acme-storefront-app"),
        ("PY-06", "your-app-id"),
        ("S-01", "flask_example"),
        ("S-30", "app_example"),
    ],
)
def test_a_client_is_made(show: Show, sample: str, app_id: str) -> None:
    client = show(sample).play().inngest_client

    assert client.app_id == app_id
    assert isinstance(client, inngest.Inngest)


def test_an_event_key_is_an_option(show: Show) -> None:
    assert show("PY-06").play().inngest_client.event_key == "xyz..."


@pytest.mark.parametrize("sample", ["P-43a", "P-43b"])
@pytest.mark.parametrize("branch", ["feature-x", None])
def test_an_environment_is_an_option_and_may_be_none(
    show: Show, monkeypatch: pytest.MonkeyPatch, sample: str, branch: str | None
) -> None:
    monkeypatch.delenv("INNGEST_ENV", raising=False)
    monkeypatch.delenv("BRANCH", raising=False)
    if branch is not None:
        monkeypatch.setenv("BRANCH", branch)

    assert show(sample).play(os=os).inngest_client.env == branch


@pytest.mark.parametrize("environment", ["production", "development"])
def test_production_mode_is_an_option(show: Show, monkeypatch: pytest.MonkeyPatch, environment: str) -> None:
    """The page keeps the client in no variable; here it is kept."""
    monkeypatch.setenv("FLASK_ENV", environment)
    client = show("S-19").edited(put("inngest.Inngest(", "client = inngest.Inngest(")).play(os=os).client

    assert client.is_production is (environment == "production")


@pytest.mark.parametrize("sample", ["PY-03", "PY-51"])
def test_an_event_is_sent_by_keywords(show: Show, world: World, sample: str) -> None:
    show(sample).play()

    (event,) = world.sent_events
    assert event["name"] in ("user.avatar.uploaded", "app/user.created")
    assert set(event["data"]) in ({"url"}, {"email"})


def test_nested_data_arrives_as_it_was_sent(show: Show, world: World) -> None:
    show("PY-05").play()

    (event,) = world.sent_events
    assert event["name"] == "storefront/cart.checkout.completed"
    assert event["data"] == {
        "cartId": "ed12c8bde",
        "itemIds": ["9f08sdh84", "sdf098487", "0fnun498n"],
        "account": {"id": 123, "email": "test@example.com"},
    }


def test_what_is_not_json_is_refused_before_it_is_sent(show: Show, world: World) -> None:
    """`data: { ... }` is a set in Python: the error says so, and nothing is sent."""
    with pytest.raises((TypeError, ValueError, inngest.errors.Error), match="data"):
        show("PY-07").play(name="name", data="data")

    assert world.sent_events == []


def test_a_list_is_made_by_a_comprehension(show: Show, world: World) -> None:
    async def fetch() -> list[dict[str, int]]:
        return [{"item": 1}, {"item": 2}, {"item": 3}]

    show("PY-08").play(api=SimpleNamespace(fetchAllItems=fetch))

    assert [event["data"] for event in world.sent_events] == [{"item": 1}, {"item": 2}, {"item": 3}]


def test_ids_come_in_the_order_of_the_events(show: Show, world: World) -> None:
    ids = show("PY-10").play().ids

    assert [(event["id"], event["name"]) for event in world.sent_events] == [
        (ids[0], "my_event"),
        (ids[1], "my_other_event"),
    ]


def test_an_event_id_is_sent_twice_and_starts_once(show: Show, world: World) -> None:
    client = inngest.Inngest(app_id="docs")
    trigger = inngest.TriggerEvent(event="storefront/cart.checkout.completed")

    @client.create_function(fn_id="checkout", trigger=trigger)
    async def checkout(ctx: inngest.Context) -> Any:
        return ctx.event.data["cartId"]

    serve_functions(world, client, [checkout])
    show("PY-11").play(inngest_client=client)
    show("PY-11").play(inngest_client=client)
    world.until_idle()

    assert [run.output for run in world.runs("docs-checkout")] == ["ed12c8bde"]


def test_async_and_blocking_calls_send_one_event_or_a_list(show: Show, world: World) -> None:
    ids = show("S-02").play().ids

    assert len(ids) == 2
    assert [event["name"] for event in world.sent_events] == [
        "my_event",
        "my_event",
        "my_event",
        "my_other_event",
    ]


# Models.


def test_a_model_of_an_event_goes_there_and_back(show: Show) -> None:
    shown = show("PY-12").play()
    data = {"customerId": "c", "invoiceId": "i", "amount": 3, "metadata": {"k": [1]}}

    event = shown.InvoicePaidEvent(data=data).to_event()
    again = shown.InvoicePaidEvent.from_event(event)

    assert (event.name, event.data) == ("billing/invoice.paid", data)
    assert again.data.amount == 3


def test_empty_id_and_zero_time_of_a_model_mean_that_the_server_chooses(show: Show, world: World) -> None:
    """Twice the same empty id: no event is taken for a repetition of the other."""
    client = inngest.Inngest(app_id="docs")
    shown = show("PY-12").play()
    data = {"customerId": "c", "invoiceId": "i", "amount": 3, "metadata": {}}

    @client.create_function(fn_id="paid", trigger=inngest.TriggerEvent(event=shown.InvoicePaidEvent.name))
    def paid(ctx: inngest.ContextSync) -> Any:
        event = shown.InvoicePaidEvent.from_event(ctx.event)
        return [event.data.amount, event.ts > 1_700_000_000_000, event.id != ""]

    serve_functions(world, client, [paid])
    for _ in range(2):
        asyncio.run(client.send(shown.InvoicePaidEvent(data=data).to_event()))
    world.until_idle()

    assert [run.output for run in world.runs("docs-paid")] == [[3, True, True]] * 2


def test_a_page_builds_its_events_on_one_base_model(show: Show, world: World) -> None:
    """Rows 10 to 13: the base, an event, invalid data, and a function that reads it."""
    client = inngest.Inngest(app_id="docs")
    base = show("S-10").play()
    upvoted = show("S-11").play(**public(base))
    with pytest.raises(pydantic.ValidationError, match="count"):
        show("S-12").play(client=client, **public(upvoted))
    handler = show("S-13").play(client=client, PostUpvotedEvent=upvoted.PostUpvotedEvent)
    serve_functions(world, client, [handler.fn])

    event = upvoted.PostUpvotedEvent(data=upvoted.PostUpvotedEventData(count=3)).to_event()
    good = run(world, event.name, event.data)
    bad = run(world, event.name, {"count": "bad data"})

    assert good.status == "Completed"
    assert error_of(bad).name == "ValidationError"


def public(module: Any) -> dict[str, Any]:
    """What a sample defined, for the next one on its page."""
    own = {"client", "inngest_client"}
    return {name: value for name, value in vars(module).items() if name[0] != "_" and name not in own}


# Routes that send.


class Users:
    """A page's own helpers for sign-up."""

    async def create_user(self, *, email: str, password: str) -> SimpleNamespace:
        return SimpleNamespace(id="u1", email=email)

    async def create_session(self, user_id: str) -> None:
        assert user_id == "u1"


FORM = {"email": "ada@example.com", "password": "secret"}
SIGNED_UP = {"user": {"id": "u1", "email": "ada@example.com"}}


def test_a_flask_route_sends(show: Show, world: World) -> None:
    """As printed it awaits the body, which is Quart's form of Flask."""
    quart = pytest.importorskip("quart")
    shown = show("P-11").edited(python_comments)
    shown.modules(
        {"flask": {name: getattr(quart, name) for name in ("request", "redirect")} | {"Flask": quart.Quart}}
    )
    users = Users()
    app = shown.play(create_user=users.create_user, create_session=users.create_session).app

    async def post() -> int:
        return (await app.test_client().post("/signup", json=FORM)).status_code

    assert asyncio.run(post()) == 302
    assert [event["data"] for event in world.sent_events] == [SIGNED_UP]


def test_a_fastapi_route_sends(show: Show, world: World) -> None:
    users = Users()
    app = show("P-12").play(create_user=users.create_user, create_session=users.create_session).app

    async def post() -> int:
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://app") as browser:
            return (await browser.post("/signup", json=FORM)).status_code

    assert asyncio.run(post()) == 307
    assert [event["data"] for event in world.sent_events] == [SIGNED_UP]


def test_an_ellipsis_among_events_is_refused_with_a_reason(show: Show, world: World) -> None:
    """`[{...}, ...]` on the page is a list with an `Ellipsis`; the error names what is wrong with it."""
    client = inngest.Inngest(app_id="docs")
    handler = show("S-32").edited(in_handler).play().handler

    @client.create_function(fn_id="fn", trigger=inngest.TriggerEvent(event="go"), retries=0)
    async def fn(ctx: inngest.Context) -> None:
        handler.__globals__.update(step=ctx.step, inngest=client)
        await handler(ctx)

    serve_functions(world, client, [fn])
    ended = run(world, "go")

    assert ended.status == "Failed"
    assert "llipsis" in error_of(ended).message
