"""The Python of the documentation runs: each page is one program, and what it shows happens.

The programs run on the SDK of this repository and, where something is to happen, on the real engine.
"""

import asyncio
import importlib.metadata
import re
import sys
import types
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest

import inngest
import inngest.asgi
from inngest_server.testing import World
from inngest_server.testing.host import Host

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRAGMENTS = {"reference/lint.md"}
"""Pages whose blocks are parts of functions; tests/unit/lint/test_reference.py reads them."""

T = TypeVar("T")
START = datetime(2030, 6, 3, 12, tzinfo=UTC)


def programs() -> list[str]:
    """Pages with Python that uses the SDK, relative to `docs`."""
    return sorted(
        name
        for page in DOCS.rglob("*.md")
        if (name := page.relative_to(DOCS).as_posix()) not in FRAGMENTS
        and any("import inngest" in block or "from inngest" in block for block in blocks_of(name))
    )


def blocks_of(page: str) -> list[str]:
    return BLOCK.findall((DOCS / page).read_text(encoding="utf-8"))


def source_of(page: str) -> str:
    """The blocks of a page as one module, with the line numbers of the page."""
    text = (DOCS / page).read_text(encoding="utf-8")
    lines: list[str] = []
    for match in BLOCK.finditer(text):
        lines += [""] * (text.count("\n", 0, match.start(1)) - len(lines))
        lines += match[1].splitlines()
    return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def host() -> Iterator[Host]:
    host = Host()
    yield host
    host.close()


@pytest.fixture
def world(host: Host, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    with World(host=host, start=START, absolute_times=True, seed=request.node.name) as world:
        monkeypatch.setenv("INNGEST_DEV", world.url)
        yield world


Run = Callable[[str], Any]


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Execute a page; returns its module."""
    monkeypatch.setenv("INNGEST_DEV", "1")
    # What a page takes as the reader's own application.
    shop = types.ModuleType("shop")
    vars(shop).update(client=inngest.Inngest(app_id="shop"), functions=[], site=inngest.asgi.serve)
    monkeypatch.setitem(sys.modules, "shop", shop)

    def run(page: str) -> Any:
        module = types.ModuleType(re.sub(r"\W", "_", page))
        monkeypatch.setitem(sys.modules, module.__name__, module)
        exec(compile(source_of(page), str(DOCS / page), "exec"), vars(module))
        return module

    return run


def in_a_loop(client: inngest.Inngest, work: Coroutine[Any, Any, T]) -> T:
    """What a coroutine gives, on an event loop that is left without open connections."""

    async def closing() -> T:
        try:
            return await work
        finally:
            await client._api.aclose()  # Only of this loop: the client goes on in the world's.

    return asyncio.run(closing())


def functions_of(module: Any) -> list[inngest.Function[Any]]:
    return [value for value in vars(module).values() if isinstance(value, inngest.Function)]


def test_the_sdk_of_the_documentation_is_ours() -> None:
    assert Path(inngest.__file__).is_relative_to(ROOT / "sdk")
    assert importlib.metadata.version("inngest") == inngest.__version__


@pytest.mark.parametrize("page", programs())
def test_the_python_of_a_page_runs(page: str, run_page: Run) -> None:
    for function in functions_of(run_page(page)):
        assert function.get_config("http://app/api/inngest")


@pytest.fixture
def serve(run_page: Run, world: World, host: Host, monkeypatch: pytest.MonkeyPatch) -> Iterator[Run]:
    """Execute a page and serve its functions in the world."""
    clients: list[inngest.Inngest] = []

    def serve_page(page: str) -> Any:
        monkeypatch.setenv("INNGEST_DEV", world.url)
        module = run_page(page)
        clients.append(module.client)
        if functions := functions_of(module):
            world.serve(inngest.asgi.serve(module.client, functions))
        return module

    yield serve_page
    for client in clients:
        asyncio.run_coroutine_threadsafe(client.aclose(), host.apps.loop).result()


# ---- what the pages show ---------------------------------------------------------------------------


def test_functions_do_what_their_page_says(serve: Run, world: World) -> None:
    serve("howto/python/functions.md")
    order = {"order": "17", "customer": "Ann"}

    runs = {run.function: run for run in world.send("shop/order.placed", order).runs}
    assert runs["shop-fulfil"].output == "order 17 is on its way"
    assert runs["shop-charge"].status == "Completed"
    assert world.send("shop/order.shipped", order).run.output == 2
    assert world.send("shop/report.wanted", {"orders": 11}).run.output == "shop/report.wanted"
    assert world.send("shop/report.wanted", {"orders": 10}).runs == []
    world.advance(days=1)
    assert [run.output for run in world.runs("report")][-1] == "inngest/scheduled.timer"

    assert world.send("shop/order.returned", {}).run.status == "Failed"
    (told,) = world.runs("refund-failure")
    assert (told.status, told.event["name"]) == ("Completed", "inngest/function.failed")
    assert {"error", "run_id", "function_id", "event"} <= told.event["data"].keys()


def test_steps_do_what_their_page_says(serve: Run, world: World) -> None:
    serve("howto/python/steps.md")

    runs = {run.function: run for run in world.send("shop/order.placed", {"order": "17"}).runs}
    assert runs["shop-look-up"].output == "Ann of us"
    world.send("shop/order.paid", {"order": "18", "amount": 5})
    assert runs["shop-pay"].status == "Running"
    world.send("shop/order.paid", {"order": "17", "amount": 6})
    assert runs["shop-pay"].output == "paid 6"

    refund = world.send("shop/refund.wanted", {}).run
    world.send_signal("refund-17", {"approved": True})
    assert refund.output is True

    assert world.send("math/quadruple", {"number": 5}).run.output == 20
    assert world.send("shop/order.packed", {}).run.output == 2

    late = next(run for run in world.send("shop/order.placed", {"order": "19"}).runs if "pay" in run.function)
    reminder = world.send("shop/cart.left", {"sale": "2030-07-01T09:00:00+00:00"}).run
    world.advance(days=3)
    assert late.output == "nobody paid"
    assert reminder.status == "Running"
    world.advance_to(datetime(2030, 7, 1, 9, tzinfo=UTC))
    assert reminder.output == "reminded"


def test_parallel_steps_do_what_their_page_says(serve: Run, world: World) -> None:
    serve("howto/python/parallel.md")

    outputs = {run.function: run.output for run in world.send("shop/prices.wanted", {}).runs}
    assert outputs == {"shop-compare": 4 + 1 + 2, "shop-compare-sync": 5 + 8 + 1 + 2}
    quotes = world.send("shop/quotes.wanted", {}).run
    race = world.send("shop/race.wanted", {}).run
    assert (quotes.status, race.status) == ("Running", "Running")
    world.advance("1h")
    assert quotes.output == [5 + 3, 4 + 3]
    assert race.output == [5 + 3, 5]


def test_errors_are_handled_as_their_page_says(serve: Run, world: World) -> None:
    serve("howto/python/errors-and-retries.md")

    visit = world.send("shop/visit", {}).run
    assert visit.status == "Running"
    world.advance("5m")
    assert visit.output == "open at last"

    charged = world.send("shop/charge", {}).run
    assert charged.status == "Failed"
    assert charged.error is not None
    assert charged.error.message == "the card has expired"

    call = world.send("shop/call", {}).run
    world.advance(minutes=9, seconds=58)
    assert call.status == "Running"
    world.advance(seconds=3)
    assert call.output == "reached"

    assert world.send("shop/collect", {}).run.output == "invoice sent"


def test_checkpointing_saves_requests_as_its_page_says(serve: Run, world: World) -> None:
    serve("howto/python/checkpointing.md")
    outputs = {run.function: run.output for run in world.send("shop/import", {}).runs}
    assert outputs == {"shop-import": 45, "shop-one-by-one": 5}


def test_typed_results_arrive_as_their_page_says(serve: Run, world: World) -> None:
    module = serve("howto/python/types.md")
    assert world.send("shop/customer.wanted", {}).run.output == {"name": "Ann", "age": 44}
    assert world.send("shop/customer.joined", {}).run.output == "Dear Ann"
    in_a_loop(module.client, module.place())
    world.settle()
    assert [run.output for run in world.runs("fulfil")] == [3]


def test_events_are_sent_as_their_page_says(serve: Run, world: World) -> None:
    module = serve("howto/python/send-events.md")
    assert len(in_a_loop(module.client, module.place_order("17"))) == 1
    assert len(module.ship_orders(["17", "18"])) == 2
    assert len(module.remind("17", int((START + timedelta(days=1)).timestamp() * 1000))) == 1


def test_lines_are_logged_once_as_their_page_says(
    serve: Run, world: World, caplog: pytest.LogCaptureFixture
) -> None:
    serve("howto/python/logging.md")
    with caplog.at_level("INFO", "shop.functions"):
        assert world.send("shop/order.placed", {"order": "17"}).run.status == "Completed"
    lines = [record.getMessage() for record in caplog.records if record.name == "shop.functions"]
    assert lines == ["order 17 has come in", "reserved"]


def test_middleware_works_as_its_page_says(serve: Run, world: World) -> None:
    module = serve("howto/python/middleware.md")
    assert world.send("shop/order.wanted", {}).run.output == "order 17"
    assert world.send("shop/secret", {}).run.output == "SWORDFISH"
    ids = in_a_loop(module.client, module.client.send(name="shop/any", data={"order": 1}))
    assert module.sent == ids
    assert [event["data"] for event in world.events_named("shop/any")] == [{"order": 1, "by": "shop"}]


def test_tests_of_functions_pass_as_their_page_says(run_page: Run, world: World) -> None:
    module = run_page("howto/python/testing.md")
    module.test_the_total_is_twice_the_amount()


def test_the_repeatable_invoice_runs(serve: Run, world: World) -> None:
    serve("howto/find-nondeterminism.md")
    assert world.send("shop/order.placed", {"customer": "Ann"}).run.status == "Completed"
