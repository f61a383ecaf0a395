"""The Python of the documentation runs: each page is one program, and what it shows happens.

The programs run on the SDK of this repository and, where something is to happen, on the real engine.
"""

import asyncio
import importlib.metadata
import importlib.util
import re
import sys
import types
from collections import Counter
from collections.abc import Callable, Coroutine, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import pytest

import inngest
import inngest.asgi
import inngest.errors
from inngest_server.lint.lint import lint
from inngest_server.lint.rules import enabled
from inngest_server.testing import World
from inngest_server.testing.host import Host

ROOT = Path(__file__).parent.parent
DOCS = ROOT / "docs"
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FRAGMENTS = {"howto/test-your-functions.md", "reference/lint.md"}
"""Pages whose blocks are no programs: parts of functions (tests/unit/lint/test_reference.py reads them), and
tests of an application that the reader has.
"""

READMES = ["../README.md", "../sdk/README.md"]

T = TypeVar("T")
START = datetime(2030, 6, 3, 12, tzinfo=UTC)


def programs() -> list[str]:
    """Pages with Python that uses the SDK, relative to `docs`."""
    pages = [page.relative_to(DOCS).as_posix() for page in DOCS.rglob("*.md")]
    return sorted(
        name
        for name in [*pages, *READMES]
        if name not in FRAGMENTS
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


class ReadersApp(types.ModuleType):
    """What a page takes as the reader's own application: whatever is imported from it is there."""

    client = inngest.Inngest(app_id="shop", is_production=False)
    functions: ClassVar[list[object]] = []

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return object()


@pytest.fixture
def run_page(monkeypatch: pytest.MonkeyPatch) -> Run:
    """Execute a page; returns its module."""
    monkeypatch.setenv("INNGEST_DEV", "1")
    monkeypatch.setitem(sys.modules, "shop", ReadersApp("shop"))

    def run(page: str) -> Any:
        # In a tutorial the module is called `app`, and its test imports it.
        module = types.ModuleType("app")
        monkeypatch.setitem(sys.modules, "app", module)
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


def test_the_functions_of_documentation_and_examples_are_repeatable() -> None:
    examples = {str(path): path.read_text(encoding="utf-8") for path in (ROOT / "examples").rglob("*.py")}
    result = lint({page: source_of(page) for page in programs()} | examples, enabled(["ING"], ["ING005"]))
    assert [finding[:7] for finding in result.findings] == []
    assert result.functions > 30


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
    assert Counter(call.function for call in world.calls) == {"shop-import": 1, "shop-one-by-one": 3}


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


def test_the_tutorial_goes_as_it_says(
    serve: Run, world: World, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("INNGEST_DEV", world.url)
    whole, broken, test = blocks_of("tutorial/python.md")
    app = types.ModuleType("app")
    monkeypatch.setitem(sys.modules, "app", app)
    exec(whole, vars(app))
    intact = vars(app)["send_mail"]

    exec(test, told := dict[str, Any]())
    told["test_the_customer_is_asked_after_a_day"](world)

    exec(broken, vars(app))
    run = world.send("shop/order.placed", {"order": "18"}).run
    world.advance(days=1)
    assert (run.status, run.steps["ask"].attempts) == ("Running", 1)
    vars(app)["send_mail"] = intact
    world.advance_to_next()
    assert run.output == "sent"
    asyncio.run_coroutine_threadsafe(app.client.aclose(), host.apps.loop).result()


@pytest.mark.parametrize(
    ("page", "event", "data", "said"),
    [
        ("../README.md", "shop/customer.joined", {"name": "Ann"}, "sent to Ann: How do you like it?"),
        ("../sdk/README.md", "shop/cart.left", {"email": "ann@example.com"}, "sent to ann@example.com"),
    ],
)
def test_the_first_function_that_a_reader_sees_works(
    page: str, event: str, data: dict[str, str], said: str, serve: Run, world: World
) -> None:
    serve(page)
    run = world.send(event, data).run
    world.advance(days=1)
    assert run.output == said


def test_the_repeatable_invoice_runs(serve: Run, world: World) -> None:
    serve("howto/find-nondeterminism.md")
    assert world.send("shop/order.placed", {"customer": "Ann"}).run.status == "Completed"


# ---- the reference -----------------------------------------------------------------------------------


def reference() -> Any:
    spec = importlib.util.spec_from_file_location("write_reference", ROOT / "sdk" / "write_reference.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_reference_says_what_the_docstrings_say() -> None:
    written = reference()
    assert written.PAGE.read_text(encoding="utf-8") == written.page(), (
        "docs/reference/python-sdk.md is not up to date: run sdk/write_reference.py"
    )


def test_the_reference_has_every_public_name() -> None:
    written = reference()
    described = {name for names in written.SECTIONS.values() for name in names}
    told = {f"inngest.{name}" for name in written.TOLD_ELSEWHERE}
    assert {f"inngest.{name}" for name in inngest.__all__} - described - told == set()
    errors = (DOCS / "reference/python-sdk.md").read_text(encoding="utf-8")
    assert [name for name in inngest.errors.__all__ if f"`{name}`" not in errors] == []
