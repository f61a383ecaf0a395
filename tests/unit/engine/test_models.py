"""The engine beside the models of the documentation, with whatever options and events come to mind.

One test a rule, and one in which all meet. Every example ends with a comparison of all runs; an order or a
moment that no documentation allows is found on the way.
"""

import asyncio
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.models.event import Event
from tests.models.pipeline import Do, Function
from tests.unit.engine.side_by_side import SideBySide

FAR_MS = 30 * 24 * 3_600_000
"""By then everything has ended."""


class Happening(NamedTuple):
    """Something that happens `after_ms` what happened before."""

    after_ms: int
    what: str
    data: dict[str, Any]
    ago_ms: int = 0
    """Of an event: by how much its own `ts` is older; negative: it is of the future."""
    number: int = 0
    """Of what is cancelled, paused or changed: which."""


def steps(count: int, unit_ms: int) -> st.SearchStrategy[int]:
    """Moments a whole number of units away, often none."""
    return st.integers(0, count).map(lambda number: number * unit_ms)


def events(**values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Data of events, in which a name whose value is drawn as None is missing."""
    return st.fixed_dictionaries(values).map(
        lambda drawn: {name: value for name, value in drawn.items() if value is not None}
    )


KEYED = events(a=st.sampled_from(["x", "y", None]), b=st.sampled_from(["1", "2"]))
WORK = st.lists(
    st.tuples(steps(6, 250).map(lambda ms: Do("request", ms + 250)), steps(4, 500)), min_size=1, max_size=3
).map(lambda drawn: _work(drawn))
KEY = st.sampled_from([{}, {"key": "event.data.a"}, {"key": "event.data.b"}])


def _work(drawn: Sequence[tuple[Do, int]]) -> tuple[Do, ...]:
    """Requests with sleeps between, and where a sleep has no length with none."""
    work: list[Do] = []
    for request, sleep_ms in drawn:
        # Odd, so that no sleep ends in the moment in which a debounced series or a batch does.
        work += [request, *([Do("sleep", sleep_ms + 7)] if sleep_ms else [])]
    return tuple(work if work[-1].what == "request" else work[:-1])


def happenings(
    data: st.SearchStrategy[dict[str, Any]] = KEYED,
    *,
    ago_ms: st.SearchStrategy[int] = st.just(0),  # noqa: B008 (strategies are values)
    also: Sequence[str] = ("restart",),
    count: int = 30,
    unit_ms: int = 250,
) -> st.SearchStrategy[list[Happening]]:
    """Mostly events, sometimes something else. As many that worlds are crowded; the rest may be nothing."""
    what = st.sampled_from(["nothing", *["event"] * 8, *also])
    after_ms = st.sampled_from([0, 0, 0, 1, 1, 2, 4, 8]).map(lambda number: number * unit_ms)  # In bursts.
    one = st.builds(Happening, after_ms, what, data, ago_ms, st.integers(0, count))
    return st.lists(one, min_size=count // 2, max_size=count)


async def live_through(pair: SideBySide, story: Sequence[Happening]) -> None:
    """Let everything happen to both, then wait until nothing is left, and compare."""
    await pair.open()
    now_ms = 0
    for number, one in enumerate(story):
        now_ms += one.after_ms
        await pair.play([], now_ms)
        await pair.pass_time(now_ms)
        functions = list(pair.world.functions)
        function_id = functions[one.number % len(functions)]
        runs = list(pair.world.runs)
        match one.what:
            case "event":
                ts_ms = now_ms - one.ago_ms if one.ago_ms else None
                await pair.receive(Event(number, one.data, ts_ms=ts_ms))
            case "cancel" if runs:
                await pair.cancel(runs[one.number % len(runs)])
            case "restart":
                await pair.restart()
            case "limit":
                await pair.configure(function_id, concurrency=one.number % 4)
            case "pause":
                await pair.pause(function_id)
            case "resume":
                await pair.resume(function_id)
    for function_id in pair.world.functions:
        await pair.resume(function_id)
    await pair.play([], FAR_MS)
    assert not pair.world.under_way()
    await pair.compare()


def check(functions: Sequence[Function], story: Sequence[Happening]) -> None:
    asyncio.run(live_through(SideBySide(*functions), story))


def one_function(
    options: st.SearchStrategy[dict[str, Any]], work: st.SearchStrategy[tuple[Do, ...]] = WORK
) -> st.SearchStrategy[Callable[[], Function]]:
    """A function with drawn options. It is made anew for each try, for it remembers."""
    return st.builds(lambda drawn, work: lambda: Function("f", drawn, work), options, work)


def _is_settled(options: dict[str, Any]) -> bool:
    """Whether it does not matter which of two debounced series ends first that end in one moment."""
    own = options.get("debounce", {}).get("key")
    judges = [options.get("idempotency"), options.get("singleton", {"key": None}).get("key", "")]
    return own is None or all(judge in (None, own) for judge in judges)


# Options, a rule at a time.

LIMIT = st.builds(lambda limit, key: {"limit": limit, **key}, st.integers(1, 3), KEY)
CONCURRENCY = st.one_of(
    st.integers(0, 3),
    LIMIT,
    st.lists(LIMIT, min_size=2, max_size=2, unique_by=lambda one: one.get("key")),
    st.builds(lambda run, step: {"fn": [run], "step": [step]}, LIMIT, LIMIT),
    st.builds(lambda run: {"fn": [run]}, LIMIT),
)
THROTTLE = st.builds(
    lambda limit, period_s, burst, key: {"limit": limit, "period": f"{period_s}s", "burst": burst, **key},
    st.integers(1, 4),
    st.integers(1, 7),
    st.integers(0, 3),
    KEY,
)
RATE_LIMIT = st.builds(
    lambda limit, period_s, key: {"limit": limit, "period": f"{period_s}s", **key},
    st.integers(1, 25),
    st.integers(1, 20),
    KEY,
)
DEBOUNCE = st.builds(
    lambda period, timeout, key: {"period": f"{period}ms", **timeout, **key},
    st.sampled_from([1000, 1750, 3000]),
    st.sampled_from([{}, {"timeout": "3500ms"}, {"timeout": "6s"}]),
    KEY,
)
BATCH = st.builds(
    lambda size, timeout, key, condition: {"maxSize": size, "timeout": timeout, **key, **condition},
    st.integers(2, 6),
    st.sampled_from(["1s", "2500ms", "10s"]),
    KEY,
    st.sampled_from([{}, {"if": "event.data.good"}]),
)
SINGLETON = st.builds(lambda mode, key: {"mode": mode, **key}, st.sampled_from(["skip", "cancel"]), KEY)
# Odd lengths, so that no timeout ends in the moment of anything else: which comes first would be open.
TIMEOUTS = st.fixed_dictionaries(
    {},
    optional={
        "start": st.sampled_from(["1003ms", "2503ms"]),
        "finish": st.sampled_from(["1007ms", "4007ms"]),
    },
)


@settings(max_examples=25, deadline=None)
@given(
    one_function(st.fixed_dictionaries({"concurrency": CONCURRENCY})),
    happenings(also=("restart", "cancel", "limit")),
)
def test_concurrency(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["env", "account"]), st.integers(1, 4), st.booleans()),
        min_size=2,
        max_size=3,
    ),
    WORK,
    happenings(),
)
def test_concurrency_that_functions_share(
    limits: list[tuple[str, int, bool]], work: tuple[Do, ...], story: list[Happening]
) -> None:
    functions: list[Function] = []
    for number, (scope, limit, has_own) in enumerate(limits):
        concurrency = [{"scope": scope, "key": "event.data.a", "limit": limit}]
        concurrency += [{"limit": 1, "key": "event.data.b"}] if has_own else []
        functions.append(Function(f"f{number}", {"concurrency": concurrency}, work))
    check(functions, story)


@settings(max_examples=25, deadline=None)
@given(
    one_function(st.fixed_dictionaries({"throttle": THROTTLE}, optional={"concurrency": CONCURRENCY})),
    happenings(also=("restart", "cancel")),
)
def test_throttle(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.one_of(
            st.fixed_dictionaries({"rateLimit": RATE_LIMIT}),
            st.fixed_dictionaries({"idempotency": st.sampled_from(["event.data.a", "event.data.b"])}),
        )
    ),
    happenings(unit_ms=250),
    st.sampled_from([1, 4 * 3600]),
)
def test_rate_limit_and_idempotency(
    function: Callable[[], Function], story: list[Happening], scale: int
) -> None:
    check([function()], [one._replace(after_ms=one.after_ms * scale) for one in story])


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.fixed_dictionaries(
            {"debounce": DEBOUNCE},
            optional={"rateLimit": RATE_LIMIT, "throttle": THROTTLE, "idempotency": st.just("event.data.b")},
        ).filter(_is_settled)
    ),
    happenings(ago_ms=steps(4, 250)),
)
def test_debounce(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


GOOD = events(
    a=st.sampled_from(["x", "y"]), b=st.just("1"), good=st.sampled_from([True, True, False, "yes", None])
)


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.fixed_dictionaries({"batchEvents": BATCH}, optional={"throttle": THROTTLE, "concurrency": LIMIT})
    ),
    happenings(GOOD, ago_ms=steps(4, 250)),
)
def test_batching(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


FACTOR = events(factor=st.sampled_from([0, 1, 2, 600, -1, -3, 700, "x", 1.5, True, None]), b=st.just("1"))


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.fixed_dictionaries(
            {"priority": st.just({"run": "event.data.factor"}), "concurrency": st.integers(1, 2)},
            optional={"throttle": THROTTLE},
        )
    ),
    happenings(FACTOR),
)
def test_priority(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.fixed_dictionaries({"singleton": SINGLETON}, optional={"throttle": THROTTLE, "concurrency": LIMIT})
    ),
    happenings(
        events(a=st.sampled_from(["x", "y", False, None]), b=st.just("1")), also=("restart", "cancel")
    ),
)
def test_singleton(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


@settings(max_examples=25, deadline=None)
@given(
    one_function(
        st.fixed_dictionaries(
            {"timeouts": TIMEOUTS}, optional={"throttle": THROTTLE, "concurrency": CONCURRENCY}
        )
    ),
    happenings(ago_ms=st.sampled_from([0, 0, -700])),
)
def test_timeouts(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


@settings(max_examples=25, deadline=None)
@given(
    one_function(st.fixed_dictionaries({}, optional={"concurrency": LIMIT, "debounce": DEBOUNCE})),
    happenings(also=("restart", "pause", "resume", "resume")),
)
def test_pausing(function: Callable[[], Function], story: list[Happening]) -> None:
    check([function()], story)


async def test_a_limit_that_a_sync_adds_does_not_use_up_the_throttle_of_those_that_wait() -> None:
    pair = SideBySide(Function("f", {"throttle": {"limit": 1, "period": "1s"}}, (Do("request", 250),)))
    story = [Happening(0, "event", {}) for _ in range(4)]
    await live_through(pair, [*story, Happening(0, "limit", {}, number=1)])
    assert pair.started() == [0, 1000, 2000, 3000]


ANY_OPTIONS = st.one_of(
    st.fixed_dictionaries(
        {},
        optional={
            "concurrency": CONCURRENCY,
            "throttle": THROTTLE,
            "rateLimit": RATE_LIMIT,
            "debounce": DEBOUNCE,
            "priority": st.just({"run": "event.data.factor"}),
            "singleton": SINGLETON,
            "timeouts": TIMEOUTS,
        },
    ).filter(_is_settled),
    st.fixed_dictionaries(
        {"batchEvents": BATCH},
        optional={"concurrency": CONCURRENCY, "throttle": THROTTLE, "timeouts": TIMEOUTS},
    ),
)


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(ANY_OPTIONS, WORK), min_size=1, max_size=3),
    happenings(
        events(
            a=st.sampled_from(["x", "y", None]),
            b=st.sampled_from(["1", "2"]),
            factor=st.sampled_from([0, 2, -2, 600]),
            good=st.booleans(),
        ),
        ago_ms=st.sampled_from([0, 0, 500]),
        also=("restart", "cancel", "limit", "pause", "resume", "resume"),
        count=30,
    ),
)
def test_all_rules_together(
    drawn: list[tuple[dict[str, Any], tuple[Do, ...]]], story: list[Happening]
) -> None:
    check([Function(f"f{number}", *one) for number, one in enumerate(drawn)], story)
