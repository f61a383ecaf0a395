"""ING009 to ING014: ids and the order of steps."""

import pytest

from tests.unit.lint.cases import check, in_function


@pytest.mark.parametrize(
    "body",
    [
        "for item in {'a', 'b'}:  #! ING009\n    await ctx.step.run(f'send-{item}', load)",
        "for item in set(ctx.event.data['a']):  #! ING009\n    await ctx.step.run(f'send-{item}', load)",
        "items = set(ctx.event.data['a'])\nfor item in items:  #! ING009\n"
        "    await ctx.step.run(f's-{item}', load)",
        "old = {'a'}\nfor item in old | {'b'}:  #! ING009\n    await ctx.step.run(f's-{item}', load)",
        "for n, item in enumerate(list({'a'})):  #! ING009\n    await ctx.step.run(f's-{n}', load, item)",
        "await asyncio.gather(*[ctx.step.run(f's-{i}', load) for i in {'a', 'b'}])  #! ING009",
        "done, _ = await asyncio.wait([ctx.step.run('a', load)])\n"
        "for task in done:  #! ING009\n    await ctx.step.run(f's-{task.result()}', load)",
        "ids: set[str] = load()\nfor one in ids:  #! ING009\n    await ctx.step.run(f's-{one}', load)",
        "a = {'x'}\nfor one in a.union(['y']):  #! ING009\n    await ctx.step.run(f's-{one}', load)",
    ],
)
def test_steps_in_the_order_of_a_set_are_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "for item in sorted({'a', 'b'}):\n    await ctx.step.run(f'send-{item}', load)",
        "for item in {'a', 'b'}:\n    print(item)",
        "for item in {'a': 1, 'b': 2}:\n    await ctx.step.run(f'send-{item}', load)",
        "items = set(ctx.event.data['a'])\nitems = sorted(items)\n"
        "for item in items:\n    await ctx.step.run(f's-{item}', load)",
        "total = sum({1, 2})\nawait ctx.step.run(f's-{total}', load)",
        "def every():\n    return [one for one in {'a'}]\nawait ctx.step.run('every', every)",
        "a = 6\nfor one in range(a - 2):\n    await ctx.step.run(f's-{one}', load)",
    ],
)
def test_an_order_that_stays_is_fine(body: str) -> None:
    check(in_function(body))


LOOPS = [
    "for day in range(5):\n    if ctx.event.id == 'a':\n        await ctx.step.run('up', load)  #! ING010",
    "for day in range(5):\n    if day > 3:\n        await ctx.step.run('upgrade', load)  #! ING010",
    "for item in ctx.event.data['a']:\n    await ctx.step.run('send', load, item)  #! ING010",
    "while True:\n    await ctx.step.sleep('wait', 5)  #! ING010",
    "for a in range(3):\n    for b in range(3):\n        await ctx.step.run(f's-{b}', load)  #! ING010",
    "for user in ctx.event.data['a']:\n    for part in ('x', 'y'):\n"
    "        await ctx.step.run(f's-{part}', load, user)  #! ING010",
    "name = 'send'\nfor item in ctx.event.data['a']:\n    await ctx.step.run(name, load, item)  #! ING010",
    "await asyncio.gather(*[ctx.step.run('s', load, i) for i in range(3)])  #! ING010",
    "calls = tuple(functools.partial(ctx.step.run, 's', load, i) for i in range(3))  #! ING010\n"
    "await ctx.group.parallel(calls)",
    "for n in range(3):\n    try:\n        await ctx.step.run('charge', load)  #! ING010\n        break\n"
    "    except inngest.StepError:\n        pass",
    "for item in ctx.event.data['a']:\n    if item:\n"
    "        await ctx.step.wait_for_event('w', event='x')  #! ING010",
    "for item in ctx.event.data['a']:\n    await ctx.step.run(step_id='send', handler=load)  #! ING010",
]
NO_LOOPS = [
    "for day in range(5):\n    if day == 3:\n        await ctx.step.run('upgrade', load)",
    "n = 0\nwhile n < 9:\n    n += 1\n    if load() and n == 3:\n        await ctx.step.run('upgrade', load)",
    "for item in ctx.event.data['a']:\n    await ctx.step.run(f'send-{item}', load)",
    "for n, item in enumerate(ctx.event.data['a']):\n    await ctx.step.run('send-' + str(n), load, item)",
    "n = 0\nwhile True:\n    n += 1\n    await ctx.step.sleep(f'wait-{n}', 5)",
    "page = 1\nwhile page:\n    page = await ctx.step.run(f'page-{page}', load)",
    "for user in ctx.event.data['a']:\n    name = user['id']\n    await ctx.step.run(f's-{name}', load)",
    "for user in ctx.event.data['a']:\n    for order in user['orders']:\n"
    "        await ctx.step.run(f's-{order}', load)",
    "for a in range(3):\n    for b in range(3):\n        await ctx.step.run(f's-{a}-{b}', load)",
    "for a in range(3):\n    for b in load(a):\n        await ctx.step.run(f's-{b}', load)",
    "for item in await ctx.step.run('items', load):\n    print(item)",
    "names = [one['name'] for one in await ctx.step.run('items', load)]\nreturn names",
    "import itertools\ncount = itertools.count()\nfor item in range(3):\n"
    "    await ctx.step.run(f's-{next(count)}', load)",
    "for item in ctx.event.data['a']:\n    return await ctx.step.run('only', load, item)",
    "while load():\n    await ctx.step.run('once', load)\n    break",
    "for item in ctx.event.data['a']:\n    print(item)\nelse:\n    await ctx.step.run('end', load)",
    "items = ctx.event.data['a']\nwhile items:\n    item = items.pop()\n"
    "    await ctx.step.run(f's-{item}', load)",
    "for item in ctx.event.data['a']:\n    step_id = f's-{item}'\n    await ctx.step.run(step_id, load)",
]


@pytest.mark.parametrize("body", LOOPS)
def test_an_id_that_repeats_in_a_loop_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize("body", NO_LOOPS)
def test_an_id_that_differs_in_a_loop_is_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "if ctx.event.data['a']:\n    await ctx.step.run('a', load)\n"
        "await ctx.step.run('a', load)  #! ING011",
        "try:\n    await ctx.step.run('a', load)\nexcept inngest.StepError:\n"
        "    await ctx.step.run('b', load)\n"
        "await ctx.step.run('b', load)  #! ING011",
        "match ctx.event.name:\n    case 'x':\n        await ctx.step.run('a', load)\n"
        "await ctx.step.run('a', load)  #! ING011",
        "if load():\n    await ctx.step.run('a', load)\nif load(1):\n"
        "    await ctx.step.run('a', load)  #! ING011",
        "x = load() and await ctx.step.run('a', load)\ny = await ctx.step.run('a', load)  #! ING011",
    ],
)
def test_an_id_whose_number_depends_on_a_branch_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "if load():\n    await ctx.step.run('a', load)\nelse:\n    await ctx.step.run('a', load, 1)",
        "if load():\n    await ctx.step.run('a', load)\n    return\nawait ctx.step.run('a', load)",
        "x = await (ctx.step.run('a', load) if load() else ctx.step.run('a', load, 1))\nreturn x",
        "match ctx.event.name:\n    case 'x':\n        await ctx.step.run('a', load)\n"
        "    case _:\n        await ctx.step.run('a', load)",
        "try:\n    load()\nexcept ValueError:\n    await ctx.step.run('b', load)\nexcept KeyError:\n"
        "    await ctx.step.run('b', load)",
        "try:\n    await ctx.step.run('a', load)\nexcept inngest.StepError:\n"
        "    await ctx.step.run('b', load)",
        "await ctx.step.run('a', load)\nif load():\n    await ctx.step.run('a', load)",
        "await ctx.step.run('a', load)\nawait ctx.step.run('a', load)",
    ],
)
def test_ids_that_exclude_each_other_or_have_fixed_numbers_are_fine(body: str) -> None:
    check(in_function(body))


def test_an_id_used_twice_is_found_when_it_is_asked_for() -> None:
    body = "await ctx.step.run('a', load)\nawait ctx.step.run('a', load)  #! ING012"
    check(in_function(body), "ING012")


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.run(f'a-{time.time()}', load)  #! ING013",
        "await ctx.step.run(str(uuid.uuid4()), load)  #! ING013",
        "await ctx.step.run(f'a-{ctx.attempt}', load)  #! ING013",
        "await ctx.step.run(f'a-{id(load)}', load)  #! ING013",
        "await ctx.step.run('a-%s' % hash(ctx.run_id), load)  #! ING013",
        "key = uuid.uuid4()  #! ING002\nawait ctx.step.run(f'a-{key}', load)  #! ING013",
        "await ctx.step.sleep(step_id=f'{random.random()}', duration=5)  #! ING013",
        "for item in range(3):\n    await ctx.step.run(f'a-{item}-{time.time()}', load)  #! ING013",
    ],
)
def test_an_id_that_the_next_call_does_not_find_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "await ctx.step.run(f'a-{ctx.run_id}-{ctx.event.id}', load)",
        "key = await ctx.step.run('key', lambda: str(uuid.uuid4()))\nawait ctx.step.run(f'a-{key}', load)",
        "await ctx.step.run(f'a-{uuid.uuid5(uuid.NAMESPACE_URL, ctx.run_id)}', load)",
        "ctx.logger.info('try %s', ctx.attempt)",
        "job = ctx.event.data\nawait ctx.step.run(f'a-{job.attempt}', load)",
    ],
)
def test_an_id_of_what_stays_is_fine(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "calls = tuple(lambda: ctx.step.run(f's-{i}', load) for i in range(3))  #! ING014\n"
        "await ctx.group.parallel(calls)",
        "calls = []\nfor i in range(3):\n"
        "    calls.append(lambda: ctx.step.run(f's-{i}', load, i))  #! ING014\n"
        "await ctx.group.parallel(tuple(calls))",
    ],
)
def test_a_lambda_that_looks_up_the_loop_variable_too_late_is_found(body: str) -> None:
    check(in_function(body))


@pytest.mark.parametrize(
    "body",
    [
        "calls = tuple(lambda i=i: ctx.step.run(f's-{i}', load) for i in range(3))\n"
        "await ctx.group.parallel(calls)",
        "calls = tuple(functools.partial(ctx.step.run, f's-{i}', load) for i in range(3))\n"
        "await ctx.group.parallel(calls)",
        "for i in range(3):\n    await ctx.step.run(f's-{i}', lambda: load(i))",
        "await ctx.group.parallel((lambda: ctx.step.run('a', load), lambda: ctx.step.run('b', load)))",
    ],
)
def test_a_lambda_that_is_bound_or_used_at_once_is_fine(body: str) -> None:
    check(in_function(body))
