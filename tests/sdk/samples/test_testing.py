"""Samples of testing without a server, and with one of its own."""

import datetime
import unittest

import pytest

import inngest
from tests.sdk.samples.conftest import Show
from tests.sdk.samples.shown import put
from tests.support.api import request


def run_tests(case: type[unittest.TestCase]) -> unittest.TestResult:
    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(case).run(result)
    return result


def test_a_function_is_tested_by_triggering_it(show: Show) -> None:
    """Both samples of the page: an async function, and its test."""
    greet = show("S-14").play().greet
    shown = show("S-15")
    shown.modules({"src.inngest.functions": {"greet": greet}})
    result = run_tests(shown.play().TestGreet)

    assert result.testsRun == 1
    assert result.failures + result.errors == []


def test_stubs_take_the_place_of_invoked_functions_and_events(show: Show) -> None:
    """The page triggers `fn`, and means `signup`."""
    client = inngest.Inngest(app_id="docs")

    @client.create_function(fn_id="send-email", trigger=inngest.TriggerEvent(event="email"))
    def send_email(ctx: inngest.ContextSync) -> str:
        raise AssertionError("the stub is used")

    from inngest.experimental import mocked

    shown = show("S-16").edited(put("            fn,", "            signup,"))
    module = shown.play(
        client=client, send_email=send_email, datetime=datetime, mocked=mocked, unittest=unittest
    )
    result = run_tests(module.TestSignup)

    assert result.testsRun == 1
    assert result.failures + result.errors == []


def test_a_test_can_fail(show: Show) -> None:
    """The page's test with another greeting: what was stubbed or run is looked at."""
    greet = show("S-14").edited(put("Hello, ", "Good bye, ")).play().greet
    shown = show("S-15")
    shown.modules({"src.inngest.functions": {"greet": greet}})

    assert len(run_tests(shown.play().TestGreet).failures) == 1


def test_a_session_has_a_server(
    show: Show, pytestconfig: pytest.Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hooks of the page's `conftest.py`, called as pytest does: ours needs no Node."""
    monkeypatch.setenv("DEV_SERVER_PORT", "0")  # Other tests run at the same time.
    from inngest.experimental import dev_server

    module = show("S-17").play()
    module.pytest_configure(pytestconfig)
    try:
        status, _, _ = request("GET", f"{dev_server.server.origin}/health")
    finally:
        module.pytest_unconfigure(pytestconfig)

    assert status == 200
    with pytest.raises(OSError, match="refused"):
        request("GET", f"{dev_server.server.origin}/health")
