"""`sentry_middleware`: what reaches Sentry, through a transport that only keeps it."""

import asyncio
import contextvars
from collections.abc import Iterator
from typing import Any

import pytest
import sentry_sdk
from sentry_sdk.transport import Transport

import inngest
from inngest.experimental import mocked
from inngest.experimental.sentry_middleware import SentryMiddleware
from inngest.middleware import MiddlewareManager

EVENTS = [inngest.Event(name="order", id="event-1"), inngest.Event(name="order")]
TRIGGER = inngest.TriggerEvent(event="order")
CLIENT = mocked.Inngest(app_id="shop", middleware=[SentryMiddleware])


class Sentry:
    def __init__(self) -> None:
        self.items: list[tuple[str, dict[str, Any]]] = []

    def of(self, kind: str) -> list[dict[str, Any]]:
        return [payload for name, payload in self.items if name == kind]


@pytest.fixture
def sentry() -> Iterator[Sentry]:
    kept = Sentry()

    class Keep(Transport):
        def capture_envelope(self, envelope: Any) -> None:
            kept.items.extend((item.type, item.payload.json) for item in envelope.items)

    scope = sentry_sdk.get_global_scope()
    before = scope.client
    sentry_sdk.init(
        dsn="https://key@sentry.example/1", transport=Keep, traces_sample_rate=1.0, default_integrations=False
    )
    yield kept
    sentry_sdk.get_client().close()
    scope.set_client(before)


def run(handler: Any, **options: Any) -> mocked.Result:
    """In a context of its own, as every request has one."""
    fn = CLIENT.create_function(fn_id="pay", name="Pay", trigger=TRIGGER, **options)(handler)
    return contextvars.copy_context().run(mocked.trigger, fn, EVENTS, CLIENT)


async def broken_step(ctx: inngest.Context) -> None:
    def broken() -> None:
        raise ValueError("in the step")

    await ctx.step.run("charge", broken)


def broken_step_sync(ctx: inngest.ContextSync) -> None:
    def broken() -> None:
        raise ValueError("in the step")

    ctx.step.run("charge", broken)


@pytest.mark.parametrize("handler", [broken_step, broken_step_sync])
def test_the_error_of_a_step_is_captured_with_its_run(sentry: Sentry, handler: Any) -> None:
    run(handler, retries=0)

    captured = sentry.of("event")[0]
    (error,) = captured["exception"]["values"]
    assert (error["type"], error["value"]) == ("ValueError", "in the step")
    assert captured["tags"] == {
        "inngest.app.id": "shop",
        "inngest.attempt": 0,
        "inngest.event.count": 2,
        "inngest.event.id": "event-1",
        "inngest.event.name": "order",
        "inngest.function.id": "pay",
        "inngest.function.name": "Pay",
        "inngest.run.id": "test",
        "inngest.step.id": "charge",
    }


async def broken_function(ctx: inngest.Context) -> None:
    raise KeyError("in the function")


def broken_function_sync(ctx: inngest.ContextSync) -> None:
    raise KeyError("in the function")


@pytest.mark.parametrize("handler", [broken_function, broken_function_sync])
def test_each_attempt_of_a_function_is_captured_once(sentry: Sentry, handler: Any) -> None:
    run(handler, retries=1)

    captured = sentry.of("event")
    assert [event["tags"]["inngest.attempt"] for event in captured] == [0, 1]
    assert all("inngest.step.id" not in event["tags"] for event in captured)


def test_an_error_that_asks_to_be_quiet_is_not_captured(sentry: Sentry) -> None:
    def order(ctx: inngest.ContextSync) -> None:
        raise inngest.NonRetriableError("expected", quiet=True)

    assert run(order).status is mocked.Status.FAILED
    assert sentry.of("event") == []


async def two_requests(ctx: inngest.Context) -> None:
    await ctx.step.run("charge", lambda: None)


def two_requests_sync(ctx: inngest.ContextSync) -> None:
    ctx.step.run("charge", lambda: None)


@pytest.mark.parametrize("handler", [two_requests, two_requests_sync])
def test_each_request_is_a_transaction_with_the_steps_that_it_executes(sentry: Sentry, handler: Any) -> None:
    run(handler)

    first, second = sentry.of("transaction")
    assert {first["transaction"], second["transaction"]} == {"shop-pay"}
    assert first["contexts"]["trace"]["op"] == "inngest.function"
    assert first["contexts"]["trace"]["data"]["inngest.run.id"] == "test"
    assert [(span["op"], span["description"]) for span in first["spans"]] == [("inngest.step", "charge")]
    assert second["spans"] == []


def test_a_failed_request_is_marked_in_its_transaction(sentry: Sentry) -> None:
    run(broken_function, retries=0)

    (transaction,) = sentry.of("transaction")
    assert transaction["contexts"]["trace"]["status"] == "internal_error"


def test_inside_a_frameworks_transaction_the_request_is_a_span(sentry: Sentry) -> None:
    with sentry_sdk.start_transaction(op="http.server", name="/api/inngest"):
        run(two_requests_sync)

    (transaction,) = sentry.of("transaction")
    spans = [(span["op"], span["description"]) for span in transaction["spans"]]
    assert transaction["transaction"] == "/api/inngest"
    assert spans.count(("inngest.function", "shop-pay")) == 2


def test_what_user_code_captures_has_the_tags_of_the_run(sentry: Sentry) -> None:
    async def order(ctx: inngest.Context) -> None:
        await ctx.step.run("tell", lambda: sentry_sdk.capture_message("hello"))

    run(order)

    (message,) = sentry.of("event")
    assert (message["message"], message["tags"]["inngest.run.id"]) == ("hello", "test")


def test_nothing_of_a_run_stays_in_the_scopes_of_the_thread(sentry: Sentry) -> None:
    before = sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()

    mocked.trigger(
        CLIENT.create_function(fn_id="pay", trigger=TRIGGER, retries=0)(broken_step_sync), EVENTS, CLIENT
    )
    sentry_sdk.capture_message("afterwards")

    assert (sentry_sdk.get_isolation_scope(), sentry_sdk.get_current_scope()) == before
    assert "inngest.run.id" not in (sentry.of("event")[-1].get("tags") or {})


async def test_the_response_may_be_made_in_another_context(sentry: Sentry) -> None:
    """A framework may run the function on a thread, and answer on its event loop."""
    fn = CLIENT.create_function(fn_id="pay", name="Pay", trigger=TRIGGER)(two_requests)
    manager = MiddlewareManager(CLIENT, None, fn)
    context: Any = inngest.Context(
        **dict.fromkeys(("group", "job_id", "logger", "request_id", "step")),
        attempt=0,
        event=EVENTS[0],
        events=EVENTS,
        run_id="run-1",
    )
    memos = inngest.StepMemos({})

    await asyncio.to_thread(manager.run_sync, "transform_input", context, fn, memos)
    await manager.before_response()

    assert [each["transaction"] for each in sentry.of("transaction")] == ["shop-pay"]
