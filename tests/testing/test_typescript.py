"""An app with the official TypeScript SDK in a world, and following its histories."""

import json
import os
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from inngest_server.testing import World
from inngest_server.testing.errors import HistoriesDifferError
from tests.testing.sessions import ROOT

APP = Path(__file__).parent / "typescript" / "orders.mjs"
PACKAGES = ROOT / "tests" / "interop" / "typescript"

pytestmark = pytest.mark.interop


@contextmanager
def served(world: World, *, mail: str = "mail") -> Iterator[str]:
    """Where the app is, while it is."""
    node = shutil.which("node")
    if node is None or not (PACKAGES / "node_modules" / ".installed").exists():
        reason = "the official TypeScript SDK is missing: `make interop-typescript` installs it"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    env = {**os.environ, **world.env, "ORDERS_MAIL": mail}
    with subprocess.Popen([node, APP], cwd=PACKAGES, env=env, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield f"http://127.0.0.1:{int(process.stdout.readline())}"
        finally:
            process.kill()


def executed(address: str) -> int:
    with urllib.request.urlopen(f"{address}/executed", timeout=10) as answer:
        return json.load(answer)


def test_weeks_of_a_typescript_app_pass_and_its_code_follows_them(world: World) -> None:
    with served(world) as address:
        assert world.serve(f"{address}/api/inngest") == ["orders-order"]
        run = world.send("order/placed", {"id": 1, "amount": 5}).run
        assert [run.steps[name].output for name in ("reserve", "mail", "sms")] == [5, "mailed", "sent"]
        assert run.steps["cool off"].status == "Waiting"
        world.advance(days=7)
        assert run.steps["paid"].status == "Waiting"
        histories = [run.history]
        world.send("order/paid", {"id": 1})
        assert run.output == [5, "mailed", "sent", "closed"]
        histories.append(run.history)
        assert executed(address) == 4

        world.check_histories(histories, compare_output=False)
        assert executed(address) == 4

    with served(world, mail="e-mail") as address:
        world.serve(f"{address}/api/inngest")
        with pytest.raises(
            HistoriesDifferError, match="the run went on with 'mail'; the code asks for 'e-mail'"
        ):
            world.check_histories(histories)
        assert executed(address) == 0
