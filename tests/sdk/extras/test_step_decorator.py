"""`experimental.step`: functions that are steps where an Inngest function calls them."""

import asyncio
import threading
from typing import Any

import pytest

import inngest
from inngest import experimental
from inngest.experimental import mocked

CLIENT = mocked.Inngest(app_id="test")
EVENT = inngest.Event(name="order")
TRIGGER = inngest.TriggerEvent(event="order")
executed: list[str] = []


@pytest.fixture(autouse=True)
def nothing_executed() -> None:
    executed.clear()


@experimental.step("charge")
async def charge(amount: int, *, currency: str = "EUR") -> str:
    executed.append("charge")
    return f"{amount} {currency}"


@experimental.step("count")
def count(*items: int) -> int:
    executed.append("count")
    return len(items)


async def test_outside_of_a_run_a_decorated_function_is_an_ordinary_one() -> None:
    assert await charge(1, currency="USD") == "1 USD"
    assert count(1, 2, 3) == 3
    assert (charge.__name__, asyncio.iscoroutinefunction(charge)) == ("charge", True)


def test_in_an_async_function_each_call_is_a_step() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER)
    async def order(ctx: inngest.Context) -> Any:
        first = await charge(1, currency="USD")
        both = await asyncio.gather(charge(2), charge(3))
        number: Any = count(1, 2)
        return [first, *both, await number]

    run = mocked.trigger(order, EVENT, CLIENT)

    assert run.output == ["1 USD", "2 EUR", "3 EUR", 2]
    assert executed == ["charge", "charge", "charge", "count"]


def test_in_a_plain_function_each_call_is_a_step() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER)
    def order(ctx: inngest.ContextSync) -> int:
        first = count(1, 2)
        ctx.step.sleep("wait", "1d")
        return first + count(3)

    assert mocked.trigger(order, EVENT, CLIENT).output == 3
    assert executed == ["count", "count"]


def test_a_decorated_step_is_stubbed_by_its_id() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER)
    async def order(ctx: inngest.Context) -> str:
        return await charge(1)

    assert mocked.trigger(order, EVENT, CLIENT, step_stubs={"charge": "stubbed"}).output == "stubbed"
    assert executed == []


def test_a_decorated_step_inside_another_step_is_refused() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER, retries=0)
    async def order(ctx: inngest.Context) -> str:
        return await ctx.step.run("outer", charge, 1)

    run = mocked.trigger(order, EVENT, CLIENT)

    assert isinstance(run.error, inngest.errors.NestedStepError)
    assert executed == []


def test_the_step_tools_are_found_without_the_context() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER)
    async def order(ctx: inngest.Context) -> bool:
        return experimental.get_step_context() is ctx.step

    assert mocked.trigger(order, EVENT, CLIENT).output is True


def test_errors_about_a_decorated_step_name_the_line_that_called_it() -> None:
    """Not the decorator's own."""
    places: list[str] = []

    class Seer(inngest.MiddlewareSync):
        def transform_input(self, ctx: Any, function: Any, steps: Any) -> None:
            self.ctx = ctx

        def transform_output(self, result: inngest.TransformOutputResult) -> None:
            places.extend(str(place) for _, place in self.ctx.step._run.session.places.values())

    client = mocked.Inngest(app_id="test", middleware=[Seer])

    @client.create_function(fn_id="order", trigger=TRIGGER)
    def order(ctx: inngest.ContextSync) -> int:
        return count(1)

    mocked.trigger(order, EVENT, client)

    assert {place.rpartition(":")[0] for place in places} == {__file__}


def test_without_a_run_there_are_no_step_tools() -> None:
    with pytest.raises(experimental.StepContextError, match="no Inngest function runs here"):
        experimental.get_step_context()
    with pytest.raises(LookupError):
        experimental.get_step_context()


def test_a_thread_of_the_users_own_can_be_given_the_step_tools() -> None:
    found: list[object] = []

    @CLIENT.create_function(fn_id="order", trigger=TRIGGER)
    def order(ctx: inngest.ContextSync) -> None:
        def work() -> None:
            with experimental.set_step_context(ctx.step):
                found.append(experimental.get_step_context() is ctx.step)
            try:
                experimental.get_step_context()
            except LookupError:
                found.append("gone")

        thread = threading.Thread(target=work)
        thread.start()
        thread.join()

    mocked.trigger(order, EVENT, CLIENT)

    assert found == [True, "gone"]


def test_the_step_tools_of_another_run_are_not_replaced() -> None:
    @CLIENT.create_function(fn_id="order", trigger=TRIGGER, retries=0)
    async def order(ctx: inngest.Context) -> None:
        other: Any = object()
        with experimental.set_step_context(ctx.step), experimental.set_step_context(other):
            pass

    assert isinstance(mocked.trigger(order, EVENT, CLIENT).error, experimental.StepContextError)
