"""ING015 to ING020: how steps are called, and what happens around and within them."""

import pytest

from tests.unit.lint.cases import check, in_function


@pytest.mark.parametrize(
    "body",
    [
        "ctx.step.run('a', load)  #! ING015",
        "ctx.step.sleep('a', 5)  #! ING015",
        "return ctx.step.run('a', load)  #! ING015",
        "user = ctx.step.run('a', load)  #! ING015\nreturn user['id']",
        "user = ctx.step.run('a', load)['id']  #! ING015\nreturn user",
        "if ctx.step.run('a', load):  #! ING015\n    pass",
        "unused = ctx.step.invoke_by_id('a', function_id='b')  #! ING015",
        "print(f\"{ctx.step.run('a', load)}\")  #! ING015",
        "ctx.group.parallel((lambda: ctx.step.run('a', load),))  #! ING015",
        "ctx.step.ai.infer('a', adapter=load(), body={})  #! ING015",
        "asyncio.create_task(ctx.step.run('a', load))  #! ING015",
        "task = asyncio.ensure_future(ctx.step.run('a', load))  #! ING015",
    ],
)
def test_a_step_without_await_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "return await ctx.step.run('a', load)",
        "user = (await ctx.step.run('a', load))['id']\nreturn user",
        "first = ctx.step.run('a', load)\nreturn await first",
        "first = ctx.step.run('a', load)\nreturn await asyncio.gather(first)",
        "first = ctx.step.run('a', load)\ntasks = [first]\nreturn await asyncio.gather(*tasks)",
        "await ctx.group.parallel((lambda: ctx.step.run('a', load),))",
        "task = asyncio.ensure_future(ctx.step.run('a', load))\nawait task",
        "task = asyncio.create_task(ctx.step.run('a', load))\ntask.add_done_callback(print)",
        "tasks = [asyncio.create_task(ctx.step.run('a', load))]\nawait asyncio.wait(tasks)",
        "call = functools.partial(ctx.step.run, 'a', load)\nawait call()",
    ],
)
def test_a_step_that_is_awaited_sooner_or_later_is_fine(body: str) -> None:
    check(in_function(body))


def test_a_call_of_a_function_that_is_decorated_as_a_step_is_a_step() -> None:
    check(
        """
import time
from inngest import experimental
from inngest.experimental import step as durable

@experimental.step("charge")
async def charge(order, at):
    return open(order).read(), time.time()

@durable("mail")
def mail(order):
    return time.time()

@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    paid = await charge(ctx.event.data["order"], time.time())
    charge(5, 6)  #! ING015
    await mail(paid)
    return time.time()  #! ING001
"""
    )


def test_helpers_that_call_decorated_steps_are_looked_at_without_being_given_any() -> None:
    check(
        """
from inngest import experimental

@experimental.step("charge")
async def charge(amount): ...

async def one(amount):
    with open("log"):  #! ING003
        return await charge(amount)

async def settle(amounts):
    return [await one(amount) for amount in amounts]

async def other():
    step = experimental.get_step_context()
    await step.run("a", print)
    step.sleep("b", 5)  #! ING015

@client.create_function(fn_id="a", trigger=None)
async def a(ctx):
    await settle(ctx.event.data["amounts"])
    await other()
    await elsewhere.load()  #! ING006
"""
    )


def test_sync_steps_need_no_await() -> None:
    check(in_function("user = ctx.step.run('a', load)\nreturn user['id']", kind="def"))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.run('a', lambda: ctx.step.run('b', load))  #! ING016",
        "async def inner(ctx):\n    await ctx.step.run('b', load)\n"
        "await ctx.step.run('a', lambda: inner(ctx))  #! ING016",
        "async def inner():\n    await ctx.step.run('b', load)\nasync def outer():\n"
        "    await inner()  #! ING016\nawait ctx.step.run('a', outer)",
        "async def outer():\n    return await ctx.step.run('b', load)  #! ING016\n"
        "await ctx.step.run('a', outer)",
        "async def outer(step):\n    await step.sleep('b', 5)  #! ING016\n"
        "await ctx.step.run('a', outer, ctx.step)",
        "step = ctx.step\nasync def outer():\n    await step.run('b', load)  #! ING016\n"
        "await step.run('a', functools.partial(outer))",
    ],
)
def test_a_step_in_a_step_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "a = await ctx.step.run('a', load)\nawait ctx.step.run('b', lambda: load(a))",
        "async def both():\n    await ctx.step.run('a', load)\nawait both()",
        "class Ladder:\n    def run(self): pass\nladder = Ladder()\n"
        "await ctx.step.run('a', lambda: ladder.run())",
    ],
)
def test_steps_beside_each_other_are_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    await ctx.step.run('a', load)\nexcept:  #! ING017\n    pass",
        "try:\n    await ctx.step.run('a', load)\nexcept BaseException as error:  #! ING017\n"
        "    print(error)",
        "try:\n    await ctx.step.run('a', load)\nexcept (ValueError, BaseException):  #! ING017\n    pass",
        "try:\n    await ctx.step.run('a', load)\nexcept asyncio.CancelledError:  #! ING017\n    pass",
        "with contextlib.suppress(BaseException):  #! ING017\n    await ctx.step.run('a', load)",
        "async def helper():\n    try:\n        await ctx.step.run('a', load)\n"
        "    except:  #! ING017\n        pass\n"
        "await helper()",
    ],
)
def test_swallowing_everything_around_steps_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "try:\n    await ctx.step.run('a', load)\nexcept Exception:\n    await ctx.step.run('undo', load)",
        "try:\n    await ctx.step.run('a', load)\nexcept inngest.StepError as error:\n    print(error)",
        "try:\n    await ctx.step.run('a', load)\nexcept BaseException:\n    print('ended')\n    raise",
        "try:\n    load()\nexcept BaseException:\n    pass",
        "with contextlib.suppress(inngest.StepError):\n    await ctx.step.run('a', load)",
        "def careful():\n    try:\n        return load()\n    except:\n        return None\n"
        "await ctx.step.run('a', careful)",
    ],
)
def test_catching_errors_of_steps_is_fine(body: str) -> None:
    check(in_function(body))


def test_a_step_in_finally_is_found_and_other_work_there_is_not() -> None:
    check(
        in_function(
            """
            try:
                await ctx.step.run("a", load)
            finally:
                print("ended")
                await ctx.step.run("clean", load)  #! ING018
            """
        )
    )


@pytest.mark.parametrize(
    "body",
    [
        "found = []\nasync def one():\n    found.append(1)  #! ING019\n"
        "await ctx.step.run('a', one)\nreturn found",
        "count = 0\ndef one():\n    nonlocal count  #! ING019\n    count += 1\nawait ctx.step.run('a', one)\n"
        "return count",
        "user = await ctx.step.run('u', load)\ndef one():\n    user['a'] = 1  #! ING019\n"
        "await ctx.step.run('a', one)\nreturn user",
        "seen = set()\nawait ctx.step.run('a', lambda: seen.add(1))  #! ING019\nif seen: return",
        "order = await ctx.step.run('u', load)\ndef one():\n    order.total = 1  #! ING019\n"
        "await ctx.step.run('a', one)\nawait ctx.step.run('b', lambda: load(order))",
    ],
)
def test_a_change_that_the_next_call_does_not_see_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "found = []\nfound.append(await ctx.step.run('a', load))\nreturn found",
        "def one():\n    found = []\n    found.append(1)\n    return found\nawait ctx.step.run('a', one)",
        "found = []\ndef one():\n    found.append(1)\n    return found\nreturn await ctx.step.run('a', one)",
        "session = load()\nawait ctx.step.run('a', lambda: session.add(1))\n"
        "await ctx.step.run('b', session.commit)",
        "found = [1]\nprint(found)\ndef one():\n    found.append(1)\nawait ctx.step.run('a', one)",
        "def one(found):\n    found.append(1)\n    return found\nfound = []\n"
        "found = await ctx.step.run('a', one, found)\n"
        "return found",
    ],
)
def test_a_change_that_nobody_misses_is_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.run('a', aload(5))  #! ING020",
        "await ctx.step.run('a', load(5))  #! ING020",
        "await ctx.step.run('a', requests.get('https://a'))  #! ING003, ING020",
    ],
)
def test_a_result_in_place_of_a_function_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.run('a', aload, 5)",
        "await ctx.step.run('a', lambda: aload(5))",
        "def make(n):\n    def inner():\n        return n\n    return inner\n"
        "await ctx.step.run('a', make(5))",
        "def make(n):\n    return lambda: n\nawait ctx.step.run('a', make(5))",
        "from shop.lib import make\nawait ctx.step.run('a', make(5))",
        "await ctx.step.run('a', functools.partial(aload, 5))",
    ],
)
def test_functions_that_make_functions_are_fine(body: str) -> None:
    check(in_function(body))
