"""A server that is killed while it makes the request of a step: the next one makes it again."""

from pathlib import Path

import pytest

from tests.interop.harness import PYTHON, world
from tests.support.processes import wait_for

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("interop-gateway-crash")]

KEY = "sk-interop"


def test_a_request_under_way_is_made_again_after_a_kill(tmp_path: Path) -> None:
    with world(tmp_path, PYTHON) as made:
        server, app = made.server, made.app
        event_id = made.api.send("interop/ai-infer-slow", {})
        wait_for(lambda: any("provider" in line for line in app.lines()), "the provider is asked")
        (run,) = wait_for(lambda: made.api.runs_of_event(event_id), "the run")
        path = f"/v1/runs/{run['run_id']}/jobs"
        (job,) = made.api.call("GET", path)
        assert (job["kind"], job["attempt"], job["Raw"]["generation"]) == ("gateway", 0, 1)
        assert KEY not in str(job)

        server.kill()
        server.start()

        outcome = made.outcome_of(run["run_id"])
        assert (outcome.run["status"], outcome.output) == ("Completed", "echo: hello")
        assert [line["number"] for line in app.lines() if "provider" in line] == [1, 2]
        assert [(line["step_id"], line["attempt"]) for line in outcome.calls] == [("step", 0), ("step", 0)]
        assert KEY not in server.log_text()
