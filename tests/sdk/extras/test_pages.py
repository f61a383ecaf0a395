"""What the pages about these parts show is so; `tests/test_python_docs.py` has executed them."""

import sys
import types
from pathlib import Path
from typing import Any

import pytest

import inngest
from inngest.experimental import mocked
from inngest.experimental import remote_state_middleware as remote_state
from inngest_encryption.cipher import is_encrypted
from tests.test_python_docs import source_of


@pytest.fixture
def page(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The module that the Python of a page makes."""
    monkeypatch.setenv("INNGEST_DEV", "1")
    name = f"howto/python/{request.param}.md"
    module = types.ModuleType(request.param.replace("-", "_"))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    exec(compile(source_of(name), name, "exec"), vars(module))
    return module


@pytest.mark.parametrize("page", ["mock"], indirect=True)
def test_the_tests_of_the_page_pass(page: Any) -> None:
    tests = [value for name, value in vars(page).items() if name.startswith("test_")]
    for test in tests:
        test()
    assert len(tests) == 3


@pytest.mark.parametrize("page", ["encrypt-data"], indirect=True)
def test_the_encrypted_function_sends_nothing_readable(page: Any) -> None:
    client = mocked.Inngest(app_id="test", middleware=page.client.middleware)
    event = inngest.Event(name="shop/order.returned", data={"encrypted": {"account": "4242"}})

    run = mocked.trigger(page.refund, event, client)

    assert is_encrypted(run.output)
    (sent,) = run.sent_events
    assert sent.data["order"] == 17
    assert is_encrypted(sent.data["encrypted"])


@pytest.mark.parametrize("page", ["keep-results-elsewhere"], indirect=True)
def test_the_driver_of_the_page_keeps_results_in_its_folder(page: Any, tmp_path: Path) -> None:
    driver = remote_state.RemoteStateMiddleware.factory(page.FolderDriver(tmp_path))
    client = mocked.Inngest(app_id="test", middleware=[driver])

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    async def f(ctx: inngest.Context) -> Any:
        return await ctx.step.run("load", lambda: {"n": 1})

    assert mocked.trigger(f, inngest.Event(name="e"), client).output == {"n": 1}
    assert [file.read_text() for file in tmp_path.iterdir()] == ['{"n": 1}']


@pytest.mark.parametrize("page", ["observe"], indirect=True)
def test_the_measurement_of_the_page_has_each_executed_step(page: Any) -> None:
    client = mocked.Inngest(app_id="test", middleware=page.timed.middleware)

    @client.create_function(fn_id="f", trigger=inngest.TriggerEvent(event="e"))
    def f(ctx: inngest.ContextSync) -> None:
        ctx.step.run("load", lambda: None)

    mocked.trigger(f, inngest.Event(name="e"), client)

    assert list(page.seconds) == ["load"]


@pytest.mark.parametrize("page", ["steps-in-helpers"], indirect=True)
def test_each_call_of_the_decorated_helper_is_a_step(page: Any) -> None:
    event = inngest.Event(name="shop/day.closed", data={"amounts": [1, 2]})

    run = mocked.trigger(
        page.settle_day, event, mocked.Inngest(app_id="test"), step_stubs={"charge:1": "stubbed"}
    )

    assert run.output == ["charged 1", "stubbed"]


@pytest.mark.parametrize("page", ["realtime"], indirect=True)
async def test_the_token_of_the_page_can_be_given_as_json(page: Any) -> None:
    page.client = mocked.Inngest(app_id="test")

    assert await page.token_for("1") == {"channel": "user:1", "topics": ["progress"], "key": "mocked"}
