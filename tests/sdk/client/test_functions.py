"""Options of functions: how they are registered, and that what the server refuses is refused at once."""

import functools
from datetime import timedelta
from typing import Any

import pytest

from inngest.client import Inngest
from inngest.errors import FunctionConfigInvalidError
from inngest.flow_control import (
    Batch,
    Cancel,
    Checkpointing,
    Concurrency,
    Debounce,
    Priority,
    RateLimit,
    Singleton,
    Throttle,
    Timeouts,
)
from inngest.triggers import Trigger, TriggerCron, TriggerEvent
from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.problems import Findings

URL = "http://localhost:3000/api/inngest"
client = Inngest(app_id="app", is_production=False)


def plain(ctx: Any) -> None:
    """A handler."""


async def waiting(ctx: Any) -> None:
    """A handler that is async."""


def configs(handler: Any = plain, **options: Any) -> list[dict[str, Any]]:
    options = {"fn_id": "fn", "trigger": TriggerEvent(event="a"), **options}
    return client.create_function(**options)(handler).get_config(URL)


def config(**options: Any) -> dict[str, Any]:
    (only,) = configs(**options)
    return only


def test_a_function_with_nothing_special_registers_what_it_must() -> None:
    assert config() == {
        "id": "app-fn",
        "name": "fn",
        "triggers": [{"event": "a"}],
        "steps": {
            "step": {
                "id": "step",
                "name": "step",
                "runtime": {"type": "http", "url": f"{URL}?fnId=app-fn&stepId=step"},
            }
        },
    }


GOOD: list[tuple[dict[str, Any], dict[str, Any]]] = [
    ({"name": "Shown"}, {"name": "Shown"}),
    ({"idempotency": "event.data.id"}, {"idempotency": "event.data.id"}),
    ({"concurrency": 5}, {"concurrency": [{"limit": 5}]}),
    (
        {"concurrency": Concurrency(limit=5, key="event.data.a")},
        {"concurrency": [{"limit": 5, "key": "event.data.a"}]},
    ),
    (
        {"concurrency": [Concurrency(10, key="'openai'", scope="account"), Concurrency(1, scope="fn")]},
        {"concurrency": [{"limit": 10, "key": "'openai'", "scope": "account"}, {"limit": 1, "scope": "fn"}]},
    ),
    (
        {"concurrency": {"fn": 1, "step": [Concurrency(limit=2)]}},
        {"concurrency": {"fn": [{"limit": 1}], "step": [{"limit": 2}]}},
    ),
    ({"concurrency": {"step": 3}}, {"concurrency": [{"limit": 3}]}),
    (
        {"throttle": Throttle(limit=2, period=timedelta(minutes=1))},
        {"throttle": {"limit": 2, "period": "1m", "burst": 1}},
    ),
    (
        {"throttle": Throttle(count=2, period="5s", burst=3, key="event.data.a")},
        {"throttle": {"limit": 2, "period": "5s", "burst": 3, "key": "event.data.a"}},
    ),
    (
        {"rate_limit": RateLimit(limit=1, period="4h", key="event.data.a")},
        {"rateLimit": {"limit": 1, "period": "4h", "key": "event.data.a"}},
    ),
    (
        {"debounce": Debounce(period=300_000, timeout=timedelta(hours=1))},
        {"debounce": {"period": "5m", "timeout": "1h"}},
    ),
    (
        {
            "batch_events": Batch(
                max_size=100, timeout=timedelta(seconds=5), key="event.data.a", if_exp="event.data.b"
            )
        },
        {"batchEvents": {"maxSize": 100, "timeout": "5s", "key": "event.data.a", "if": "event.data.b"}},
    ),
    (
        {"priority": Priority(run="event.data.vip ? 120 : 0")},
        {"priority": {"run": "event.data.vip ? 120 : 0"}},
    ),
    (
        {"cancel": Cancel(event="b", if_exp="event.data.id == async.data.id", timeout="1h")},
        {"cancel": [{"event": "b", "if": "event.data.id == async.data.id", "timeout": "1h"}]},
    ),
    ({"cancel": [Cancel(event="b"), Cancel(event="c")]}, {"cancel": [{"event": "b"}, {"event": "c"}]}),
    ({"timeouts": Timeouts(start="10m", finish=3_600_000)}, {"timeouts": {"start": "10m", "finish": "1h"}}),
    ({"timeouts": Timeouts()}, {}),
    (
        {"singleton": Singleton(mode="skip", key="event.data.a")},
        {"singleton": {"mode": "skip", "key": "event.data.a"}},
    ),
    (
        {"checkpointing": Checkpointing(max_runtime="60s", buffered_steps=3)},
        {"checkpoint": {"batch_steps": 3, "max_runtime": "60s"}},
    ),
    ({"checkpointing": False}, {}),
    (
        {
            "trigger": [
                TriggerEvent(event="shop/*", expression="event.data.x > 1"),
                TriggerCron(cron="0 5 * * *"),
            ]
        },
        {"triggers": [{"event": "shop/*", "expression": "event.data.x > 1"}, {"cron": "0 5 * * *"}]},
    ),
    (
        {"trigger": TriggerCron(cron="TZ=Europe/Paris 0 12 * * 5", jitter="30s")},
        {"triggers": [{"cron": "TZ=Europe/Paris 0 12 * * 5", "jitter": "30s"}]},
    ),
    ({"trigger": Trigger(event="b")}, {"triggers": [{"event": "b"}]}),
    ({"trigger": Trigger(cron="@daily", jitter=2000)}, {"triggers": [{"cron": "@daily", "jitter": "2s"}]}),
    ({"trigger": None, "event": "b"}, {"triggers": [{"event": "b"}]}),
    ({"trigger": []}, {"triggers": []}),
    ({"fn_id": None, "id": "other"}, {"id": "app-other", "name": "other"}),
    ({"_experimental_execution": True}, {}),
]


@pytest.mark.parametrize(("options", "wanted"), GOOD, ids=lambda value: str(value)[:60])
def test_an_option_is_registered_as_the_protocol_has_it(
    options: dict[str, Any], wanted: dict[str, Any]
) -> None:
    made = config(**options)

    assert {name: made.get(name) for name in wanted} == wanted
    # Nothing else changed, but for the address, which holds the id.
    assert {**made, "steps": None} == {**config(), **wanted, "steps": None}


@pytest.mark.parametrize(("options", "wanted"), GOOD, ids=lambda value: str(value)[:60])
def test_the_server_takes_what_is_registered(options: dict[str, Any], wanted: dict[str, Any]) -> None:
    findings = Findings()

    FunctionConfig.read(config(**options), findings)

    assert findings.problems == []


def test_more_than_twenty_retries_count_as_twenty() -> None:
    assert config(retries=99)["steps"]["step"]["retries"] == {"attempts": 20}


@pytest.mark.parametrize("retries", [0, 3, 20])
def test_retries_are_registered_with_the_step(retries: int) -> None:
    made = config(retries=retries)

    assert made["steps"]["step"]["retries"] == {"attempts": retries}
    assert FunctionConfig.from_json(made).max_attempts == retries + 1


BAD: list[tuple[Any, str]] = [
    (lambda: {"retries": -1}, "retries is -1.*0 to 20"),
    (lambda: {"retries": True}, "retries is True"),
    (lambda: {"fn_id": ""}, "fn_id has to be text"),
    (lambda: {"fn_id": None}, "fn_id has to be text"),
    (lambda: {"fn_id": "a", "id": "b"}, "same option"),
    (lambda: {"trigger": None}, "a trigger is needed"),
    (lambda: {"event": "b"}, "a trigger is needed"),
    (lambda: {"trigger": {"event": "a"}}, "a trigger has to be"),
    (lambda: {"trigger": [TriggerEvent(event="a"), TriggerEvent(event="a")]}, "'a' is there twice"),
    (
        lambda: {"trigger": [TriggerCron(cron="@daily"), TriggerCron(cron="@daily", jitter="1s")]},
        "'@daily' is there twice",
    ),
    (lambda: {"trigger": [TriggerEvent(event=str(n)) for n in range(11)]}, "at most 10"),
    (lambda: {"trigger": TriggerEvent(event="a*b")}, "never matches"),
    (lambda: {"trigger": TriggerEvent(event="*")}, "never matches"),
    (lambda: {"trigger": TriggerEvent(event="x" * 256)}, "at most 255"),
    (lambda: {"trigger": TriggerCron(cron="@daily", jitter="6m")}, "1s to 5m"),
    (lambda: {"trigger": TriggerCron(cron="")}, "not empty"),
    (lambda: {"trigger": Trigger(event="a", cron="@daily")}, "either|is an event"),  # type: ignore[call-overload]
    (lambda: {"concurrency": [Concurrency(1), Concurrency(2), Concurrency(3)]}, "at most 2"),
    (lambda: {"concurrency": {"fn": [1, 2]}}, "at most 1"),
    (lambda: {"concurrency": {"fn": Concurrency(1, key="'a'", scope="env")}}, "limit on whole runs"),
    (lambda: {"concurrency": {"limit": 1}}, "has the key 'limit'"),
    (lambda: {"concurrency": "5"}, "has to be a number"),
    (lambda: {"concurrency": Concurrency(1, scope="env")}, "needs a key"),
    (lambda: {"concurrency": Concurrency(1, scope="galaxy")}, "not 'galaxy'"),  # type: ignore[arg-type]
    (lambda: {"concurrency": Concurrency(-1)}, "at least 0"),
    (lambda: {"throttle": Throttle(period="1m")}, "needs a limit"),
    (lambda: {"throttle": Throttle(limit=1, count=1, period="1m")}, "not both"),
    (lambda: {"throttle": Throttle(limit=0, period="1m")}, "at least 1"),
    (lambda: {"throttle": Throttle(limit=1, period="8d")}, "Throttle.period is 8d.*1s to 1w"),
    (lambda: {"rate_limit": RateLimit(limit=1, period=60)}, "60ms.*bare number is milliseconds"),
    (lambda: {"rate_limit": RateLimit(limit=1, period="25h")}, "1s to 1d"),
    (lambda: {"debounce": Debounce(period="soon")}, "Debounce.period has to be"),
    (lambda: {"batch_events": Batch(max_size=1, timeout="1s")}, "2 to 1000"),
    (lambda: {"batch_events": Batch(max_size=10, timeout=10)}, "Batch.timeout is 10ms"),
    (lambda: {"batch_events": Batch(max_size=10)}, "Batch needs a timeout"),
    (lambda: {"singleton": Singleton(mode="replace")}, "not 'replace'"),  # type: ignore[arg-type]
    (lambda: {"priority": Priority(run="")}, "not empty"),
    (lambda: {"idempotency": ""}, "idempotency has to be"),
    (lambda: {"timeouts": Timeouts(start=0)}, "1ms to"),
    (lambda: {"cancel": [Cancel(event=str(n)) for n in range(6)]}, "at most 5"),
    (lambda: {"cancel": "stop"}, "cancel has to be inngest.Cancel"),
    (lambda: {"throttle": {"limit": 1}}, r"throttle has to be inngest.Throttle\(...\)"),
    (
        lambda: {"batch_events": Batch(max_size=2, timeout="1s"), "cancel": Cancel(event="b")},
        "cancel cannot stand beside batch_events",
    ),
    (
        lambda: {"batch_events": Batch(max_size=2, timeout="1s"), "debounce": Debounce(period="1s")},
        "debounce cannot",
    ),
    (
        lambda: {"batch_events": Batch(max_size=2, timeout="1s"), "singleton": Singleton(mode="skip")},
        "singleton cannot",
    ),
    (
        lambda: {"batch_events": Batch(max_size=2, timeout="1s"), "priority": Priority(run="1")},
        "priority cannot",
    ),
    (lambda: {"checkpointing": Checkpointing(buffered_steps=0)}, "1 to 1000"),
]


@pytest.mark.parametrize(("options", "message"), BAD, ids=[message[:40] for _, message in BAD])
def test_what_the_server_would_refuse_is_refused_here(options: Any, message: str) -> None:
    with pytest.raises(FunctionConfigInvalidError, match=message):
        config(**options())


def test_an_error_names_the_function() -> None:
    with pytest.raises(FunctionConfigInvalidError, match=r"^function 'fn': retries is -9"):
        config(retries=-9)


# Handlers.


def test_the_failure_handler_is_a_function_of_its_own_without_retries() -> None:
    function = client.create_function(fn_id="fn", name="Shown", event="a", on_failure=plain, retries=3)(plain)

    main, failure = function.get_config(URL)

    assert main["id"] == "app-fn"
    assert failure == {
        "id": "app-fn-failure",
        "name": "Shown (failure)",
        "triggers": [
            {
                "event": "inngest/function.failed",
                "expression": "event.data.function_id == 'app-fn'",
            }
        ],
        "steps": {
            "step": {
                "id": "step",
                "name": "step",
                "retries": {"attempts": 0},
                "runtime": {"type": "http", "url": f"{URL}?fnId=app-fn-failure&stepId=step"},
            }
        },
    }
    assert function.on_failure_fn_id == "app-fn-failure"
    assert function.failure_function is not None
    assert function.failure_function.handler is plain


@pytest.mark.parametrize(("handler", "on_failure"), [(plain, waiting), (waiting, plain)])
def test_function_and_failure_handler_are_of_one_kind(handler: Any, on_failure: Any) -> None:
    decorate = client.create_function(fn_id="fn", event="a", on_failure=on_failure)

    with pytest.raises(FunctionConfigInvalidError, match="make both of one kind"):
        decorate(handler)


class Callable:
    async def __call__(self, ctx: Any) -> None:
        """A handler."""

    async def method(self, ctx: Any) -> None:
        """A handler."""


@pytest.mark.parametrize(
    ("handler", "is_async"),
    [
        (plain, False),
        (waiting, True),
        (functools.partial(waiting), True),
        (functools.partial(plain), False),
        (Callable(), True),
        (Callable().method, True),
        (lambda ctx: None, False),
    ],
)
def test_a_handler_is_known_as_async_or_plain(handler: Any, is_async: bool) -> None:
    assert client.create_function(fn_id="fn", event="a")(handler).is_handler_async is is_async


def test_a_handler_of_two_arguments_is_of_the_older_kind() -> None:
    def old(ctx: Any, step: Any) -> None: ...
    def with_option(ctx: Any, flag: bool = False, *, more: int = 1) -> None: ...

    make = client.create_function(fn_id="fn", event="a")
    assert make(old).takes_step
    assert not make(plain).takes_step
    assert not make(with_option).takes_step


@pytest.mark.parametrize("handler", [None, "x", 5])
def test_what_cannot_be_called_is_no_handler(handler: Any) -> None:
    with pytest.raises(FunctionConfigInvalidError, match="has to be a function"):
        client.create_function(fn_id="fn", event="a")(handler)


def test_what_cannot_be_called_is_no_failure_handler() -> None:
    with pytest.raises(
        FunctionConfigInvalidError, match="on_failure of function 'app-fn' has to be a function"
    ):
        configs(waiting, on_failure="tell-me")


@pytest.mark.parametrize(
    ("handler", "problem"),
    [
        (lambda: None, r"takes \(\)"),
        (lambda ctx, step, more: None, "more"),
        (lambda *, ctx: None, "too many positional"),
    ],
)
def test_a_handler_that_takes_something_else_than_ctx_is_refused(handler: Any, problem: str) -> None:
    with pytest.raises(FunctionConfigInvalidError, match=f"`ctx` alone.*{problem}"):
        configs(handler)


@pytest.mark.parametrize(
    "handler", [lambda *all: None, lambda ctx, more=1: None, functools.partial(lambda a, ctx: None, 1)]
)
def test_a_handler_that_can_take_ctx_is_one(handler: Any) -> None:
    assert configs(handler)


def test_a_generator_is_no_handler() -> None:
    def generator(ctx: Any) -> Any:
        yield 1

    async def async_generator(ctx: Any) -> Any:
        yield 1

    for handler in (generator, async_generator):
        with pytest.raises(FunctionConfigInvalidError, match="contains `yield`"):
            client.create_function(fn_id="fn", event="a")(handler)


def test_ids_are_quoted_in_addresses() -> None:
    made = config(fn_id="a b&c/é?")

    assert made["steps"]["step"]["runtime"]["url"] == f"{URL}?fnId=app-a%20b%26c%2F%C3%A9%3F&stepId=step"
    assert FunctionConfig.from_json(made).id == "app-a b&c/é?"


def test_checkpointing_is_the_functions_own_or_the_clients() -> None:
    off = Inngest(app_id="app", is_production=False, checkpointing=False)
    own = Checkpointing(max_runtime="5s")

    assert client.create_function(fn_id="fn", event="a")(plain).checkpointing is client.checkpointing
    assert client.create_function(fn_id="fn", event="a", checkpointing=False)(plain).checkpointing is None
    assert off.create_function(fn_id="fn", event="a")(plain).checkpointing is None
    assert off.create_function(fn_id="fn", event="a", checkpointing=own)(plain).checkpointing is own
    assert off.create_function(fn_id="fn", event="a", checkpointing=True)(plain).checkpointing is not None
