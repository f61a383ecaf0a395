"""Worlds: what tests can do, and what they see."""

import asyncio
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from inngest_server.testing import HTTPAnswer, HTTPRequest, World
from inngest_server.testing.errors import (
    AppNotServedError,
    ClockMoveError,
    NoSuchRunError,
    NotIdleError,
    RefusedError,
    UnknownStepError,
    WorldError,
    WorldStuckError,
)
from tests.testing.apps import App, Steps

DAY = timedelta(days=1)


def order(event: dict[str, Any], steps: Steps) -> Any:
    paid = steps.run("charge", lambda: {"paid": event["data"]["amount"]})
    steps.sleep("cool off", "3d")
    steps.run("mail", lambda: "sent")
    return paid


def say(event: dict[str, Any], steps: Steps) -> Any:
    return event["data"]


class TestTime:
    def test_a_sleep_of_days_ends_when_the_test_says_so(self, world: World) -> None:
        world.serve(App(order=order).asgi)

        run = world.send("order", {"amount": 5}).run

        assert run.status == "Running"
        assert run.steps["cool off"].status == "Waiting"
        world.advance(days=2, hours=23, minutes=59)
        assert run.status == "Running"
        world.advance(minutes=1)
        assert run.status == "Completed"
        assert run.output == {"paid": 5}
        assert run.ended_at == world.clock.now

    def test_time_stands_still_unless_it_is_moved(self, world: World) -> None:
        before = world.clock.now
        world.serve(App(say=say).asgi)
        world.send("say", {})
        assert world.clock.now == before
        world.advance("90m")
        assert world.clock.now - before == timedelta(minutes=90)

    def test_a_month_of_crons_is_all_there(self, world: World) -> None:
        app = App(tick=say)
        app.triggers["tick"] = [{"cron": "0 * * * *"}]
        world.serve(app.asgi)
        world.advance(days=30)
        assert len(world.runs("tick")) == 720

    def test_a_cron_fires_at_its_moments(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        app = App(report=say)
        app.triggers["report"] = [{"cron": "0 9 * * *"}]
        with World(host=host, start=datetime(2030, 1, 1, 8, tzinfo=UTC)) as world:
            monkeypatch.setenv("INNGEST_DEV", world.url)
            world.serve(app.asgi)
            assert world.clock.now == datetime(2030, 1, 1, 8, tzinfo=UTC)
            assert world.runs("report") == []
            world.advance_to_next()
            assert world.clock.now == datetime(2030, 1, 1, 9, tzinfo=UTC)
            world.advance_to(datetime(2030, 1, 4, tzinfo=UTC))
            moments = [run.started_at for run in world.runs("report")]
            assert moments == [datetime(2030, 1, day, 9, tzinfo=UTC) for day in (1, 2, 3)]

    def test_a_start_in_the_past_is_exact(self, host: Any) -> None:
        moment = datetime(2001, 2, 3, 4, 5, 6, 789000, tzinfo=UTC)
        with World(host=host, start=moment) as world:
            assert world.clock.now == moment

    def test_what_still_waits_after_the_bound_is_an_error(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        world.send("order", {"amount": 5})
        with pytest.raises(NotIdleError, match="next is a wait"):
            world.until_idle(within="1d")
        world.until_idle()
        assert [run.status for run in world.runs()] == ["Completed"]

    @pytest.mark.parametrize("wrong", [{"by": "-1h"}, {"days": -1}, {"by": "soon"}])
    def test_time_never_goes_back(self, world: World, wrong: dict[str, Any]) -> None:
        with pytest.raises(ClockMoveError):
            world.advance(**wrong)

    def test_how_far_is_said_in_one_way(self, world: World) -> None:
        with pytest.raises(TypeError, match="in one way"):
            world.advance()
        with pytest.raises(TypeError, match="in one way"):
            world.advance("1h", days=1)

    def test_instants_of_apps_mean_so_long_from_now(self, world: World) -> None:
        def until_tomorrow(event: dict[str, Any], steps: Steps) -> Any:
            at = datetime.now(UTC) + DAY  # Of the host, as SDKs compute it.
            steps.sleep("night", at.isoformat(timespec="milliseconds").replace("+00:00", "Z"))

        world.serve(App(night=until_tomorrow).asgi)
        world.advance(days=100)
        run = world.send("night", {}).run
        world.advance(hours=23)
        assert run.status == "Running"
        world.advance(hours=1)
        assert run.status == "Completed"


class TestRuns:
    def test_a_step_that_fails_is_tried_again_at_its_moment(self, world: World) -> None:
        def flaky(event: dict[str, Any], steps: Steps) -> Any:
            def charge() -> str:
                if steps.attempt < 2:
                    raise ValueError(f"try {steps.attempt}")
                return "ok"

            return steps.run("charge", charge)

        world.serve(App(flaky=flaky).asgi)
        run = world.send("flaky", {}).run
        assert run.steps["charge"].attempts == 1
        assert run.steps["charge"].status == "Queued"
        assert run.steps["charge"].error is not None
        assert run.steps["charge"].error.message == "try 0"
        world.until_idle()
        assert run.output == "ok"
        assert run.steps["charge"].attempts == 3
        assert run.steps["charge"].error is None
        assert world.clock.now - run.started_at > timedelta(seconds=15 + 30)  # type: ignore[operator]

    def test_why_a_run_failed_can_be_read(self, world: World) -> None:
        def broken(event: dict[str, Any], steps: Steps) -> Any:
            raise LookupError("no such order")

        app = App(broken=broken)
        app.retries = 0
        world.serve(app.asgi)
        run = world.send("broken", {}).run
        assert run.status == "Failed"
        assert run.has_ended
        assert run.output is None
        assert run.error is not None
        assert (run.error.name, run.error.message) == ("LookupError", "no such order")

    def test_a_step_that_is_not_there_is_named_with_those_that_are(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        run = world.send("order", {"amount": 5}).run
        with pytest.raises(UnknownStepError, match="did you mean 'charge'"):
            run.steps["chrage"]
        assert run.steps.get("nothing") is None
        assert list(run.steps) == ["charge", "cool off"]
        assert "mail" not in run.steps

    def test_an_event_that_starts_nothing_says_why(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        sent = world.send("oder", {"amount": 5})
        assert len(sent) == 0
        with pytest.raises(NoSuchRunError, match="order"):
            _ = sent.run

    def test_several_runs_are_no_single_one(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        sent = world.send({"name": "order", "data": {"amount": 1}}, {"name": "order", "data": {"amount": 2}})
        assert [run.event["data"]["amount"] for run in sent] == [1, 2]
        with pytest.raises(NoSuchRunError, match="2 runs"):
            _ = sent.run

    def test_an_object_of_an_sdk_is_an_event(self, world: World) -> None:
        world.serve(App(say=say).asgi)
        event = SimpleNamespace(name="say", data={"a": 1}, id="x", ts=0, user=None, v=None)
        assert world.send(event).run.output == {"a": 1}
        assert len(world.send(event)) == 0  # The same id again.

    def test_a_run_can_be_cancelled_and_run_again(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        run = world.send("order", {"amount": 5}).run
        run.cancel()
        assert run.status == "Cancelled"
        with pytest.raises(RefusedError, match="has ended already") as refused:
            run.cancel()
        assert refused.value.code == "run_ended"
        again = run.rerun()
        assert again != run
        world.until_idle()
        assert again.status == "Completed"

    def test_events_of_functions_are_seen(self, world: World) -> None:
        app = App()
        app.functions["order"] = lambda event, steps: steps.run(
            "tell", lambda: app.post("/e/key", {"name": "told", "data": {"of": event["data"]}})["status"]
        )
        app.functions["told"] = say
        world.serve(app.asgi)
        world.send("order", {"id": 1})
        assert [event["name"] for event in world.sent_events] == ["order", "told"]
        assert world.events_named("told")[0]["data"] == {"of": {"id": 1}}
        assert {event["name"] for event in world.all_events} > {"inngest/function.finished"}
        assert [run.output for run in world.runs("told")] == [{"of": {"id": 1}}]

    def test_a_wait_ends_by_its_event_or_by_time(self, world: World) -> None:
        def wait(event: dict[str, Any], steps: Steps) -> Any:
            found = steps.wait_for_event("paid", "paid", "2d", "event.data.id == async.data.id")
            return None if found is None else found["data"]["by"]

        world.serve(App(wait=wait).asgi)
        first, second = world.send({"name": "wait", "data": {"id": 1}}, {"name": "wait", "data": {"id": 2}})
        world.send("paid", {"id": 2, "by": "card"})
        assert (first.status, second.output) == ("Running", "card")
        world.advance(days=2)
        assert (first.status, first.output) == ("Completed", None)

    def test_a_signal_reaches_its_run(self, world: World) -> None:
        def wait(event: dict[str, Any], steps: Steps) -> Any:
            return steps.wait_for_signal("yes", "approved", "2d")

        world.serve(App(wait=wait).asgi)
        run = world.send("wait", {}).run
        assert world.send_signal("approved", {"by": "ann"}) == run
        assert run.output == {"signal": "approved", "data": {"by": "ann"}}

    def test_parallel_steps_are_seen_one_by_one(self, world: World) -> None:
        def both(event: dict[str, Any], steps: Steps) -> Any:
            return steps.parallel(a=lambda: 1, b=lambda: 2)

        world.serve(App(both=both).asgi)
        run = world.send("both", {}).run
        assert run.output == {"a": 1, "b": 2}
        assert [step.output for step in run.steps.values()] == [1, 2]

    def test_a_function_can_be_invoked_by_any_name(self, world: World) -> None:
        app = App(say=say)
        app.triggers["say"] = []
        world.serve(app.asgi)
        for name in ("say", "shop-say", SimpleNamespace(id="shop-say")):
            assert world.invoke(name, {"a": 1}).output["a"] == 1
        assert len(world.runs("say")) == len(world.runs(SimpleNamespace(id="shop-say"))) == 3
        with pytest.raises(RefusedError, match="could not find function"):
            world.invoke("sya")

    def test_a_debounced_run_is_found_when_it_is_made(self, world: World) -> None:
        app = App(say=say)
        app.options["say"] = {"debounce": {"period": "10m"}}
        world.serve(app.asgi)
        sent = world.send("say", {"n": 1})
        last = world.send("say", {"n": 2})
        assert (sent.runs, last.runs) == ([], [])
        world.advance("11m")
        assert last.run.output == {"n": 2}

    def test_a_paused_function_starts_nothing(self, world: World) -> None:
        world.serve(App(say=say).asgi)
        world.pause_function("say")
        assert world.send("say", {}).run.status == "Skipped"
        world.resume_function("say")
        assert world.send("say", {}).run.status == "Completed"


class TestOthers:
    def test_functions_of_other_apps_are_stubbed(self, world: World) -> None:
        def order(event: dict[str, Any], steps: Steps) -> Any:
            return steps.invoke("bill", "billing-charge", {"amount": 7})

        world.serve(App(order=order).asgi)
        world.stub_function("billing-charge", lambda event: {"charged": event["data"]["amount"]})
        assert world.send("order", {}).run.output == {"charged": 7}
        assert [run.output for run in world.runs("billing-charge")] == [{"charged": 7}]

    def test_a_stub_that_raises_fails_its_run_at_once(self, world: World) -> None:
        def order(event: dict[str, Any], steps: Steps) -> Any:
            return steps.invoke("bill", "billing-charge")

        def refuse(event: dict[str, Any]) -> None:
            raise PermissionError("no credit")

        app = App(order=order)
        app.retries = 0
        world.serve(app.asgi)
        world.stub_function("billing-charge", refuse)
        run = world.send("order", {}).run
        assert run.error is not None
        assert run.steps["bill"].error == ("PermissionError", "no credit", "")

    def test_a_stub_may_be_a_coroutine_and_use_the_world(self, world: World) -> None:
        async def bill(event: dict[str, Any]) -> int:
            return len(world.sent_events)

        world.serve(App(order=lambda event, steps: steps.invoke("bill", "billing-charge")).asgi)
        world.stub_function("billing-charge", bill)
        assert world.send("order", {}).run.output == 1

    def test_a_served_function_can_be_stubbed_too(self, world: World) -> None:
        app = App(say=say)
        world.serve(app.asgi)
        world.stub_function("say", "stubbed")
        assert world.send("say", {"a": 1}).run.output == "stubbed"

    def test_several_apps_live_in_one_world(self, world: World) -> None:
        def order(event: dict[str, Any], steps: Steps) -> Any:
            return steps.invoke("bill", "billing-charge", {"amount": 7})

        assert world.serve(App("shop", order=order).asgi) == ["shop-order"]
        assert world.serve(App("billing", charge=lambda event, steps: "charged").wsgi) == ["billing-charge"]
        assert world.send("order", {}).run.output == "charged"

    def test_requests_of_steps_are_answered_by_stubs(self, world: World) -> None:
        def ask(event: dict[str, Any], steps: Steps) -> Any:
            found = steps.fetch("ask", "https://api.example.com/v1/rate?q=1")
            return found["status_code"], found["body"]

        def rate(request: HTTPRequest) -> Any:
            assert (request.method, request.url) == ("GET", "https://api.example.com/v1/rate?q=1")
            return HTTPAnswer("busy", status=429) if len(world.http_requests) > 1 else {"rate": 2}

        world.serve(App(ask=ask).asgi)
        world.stub_http("https://api.example.com/*", rate)
        assert world.send("ask", {}).run.output == [200, '{"rate": 2}']
        assert world.send("ask", {}).run.output == [429, "busy"]

    def test_tests_reach_no_real_network(self, world: World) -> None:
        app = App(ask=lambda event, steps: steps.fetch("ask", "http://127.0.0.1:9/"))
        app.retries = 0
        world.serve(app.asgi)
        run = world.send("ask", {}).run
        assert run.status == "Failed"
        assert run.steps["ask"].error is not None
        assert "world.stub_http" in run.steps["ask"].error.message


class TestFaults:
    def test_the_nth_call_fails(self, world: World) -> None:
        world.serve(App(order=order).asgi)
        world.fail_call(2, function="order")
        run = world.send("order", {"amount": 5}).run
        assert [call.status for call in world.calls] == [206, 503]
        assert run.status == "Running"
        world.until_idle()
        assert run.status == "Completed"
        assert [call.status for call in world.calls] == [206, 503, 206, 206, 200]

    @pytest.mark.parametrize(("failure", "executed"), [("refused", 1), ("timeout", 1), ("lost_answer", 2)])
    def test_a_call_fails_before_or_after_it_was_made(
        self, world: World, failure: Any, executed: int
    ) -> None:
        charged: list[int] = []
        world.serve(App(order=lambda event, steps: steps.run("charge", lambda: charged.append(1))).asgi)
        world.fail_call(failure=failure)
        run = world.send("order", {}).run
        world.until_idle()
        assert run.status == "Completed"
        assert len(charged) == executed

    def test_calls_of_other_functions_do_not_count(self, world: World) -> None:
        world.serve(App(a=say, b=say).asgi)
        world.fail_call(1, function="b")
        assert world.send("a", {}).run.status == "Completed"
        assert world.send("b", {}).run.status == "Running"

    def test_a_wrong_failure_is_refused(self, world: World) -> None:
        with pytest.raises(ValueError, match="lost_answer"):
            world.fail_call(failure="exploded")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="from 1"):
            world.fail_call(0)

    def test_a_call_that_does_not_end_is_named(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        app = App(hang=say)

        async def hanging(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http" and scope["method"] == "POST":
                await asyncio.Event().wait()
            await app.asgi(scope, receive, send)

        with World(host=host, patience=timedelta(seconds=0.2)) as world:
            monkeypatch.setenv("INNGEST_DEV", world.url)
            world.serve(hanging)
            with pytest.raises(WorldStuckError, match="shop-hang, run 01"):
                world.send("hang", {})


class TestIsolation:
    def test_worlds_share_nothing(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("INNGEST_DEV", host.url)
        with World(host=host) as first:
            first.serve(App(say=say).asgi)
            first.send("say", {})
            assert len(first.runs()) == 1
        with World(host=host) as second:
            assert (second.runs(), second.all_events, second.calls, second.server_log) == ([], [], [], [])
            assert len(second.send("say", {})) == 0

    def test_there_is_one_world_at_a_time(self, world: World, host: Any) -> None:
        with pytest.raises(WorldError, match="another world is open"), World(host=host):
            pass
        assert world.send("nothing", {}).runs == []

    def test_the_same_seed_gives_the_same_jitter(self, host: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        def broken(event: dict[str, Any], steps: Steps) -> Any:
            raise ValueError

        def moments(seed: str) -> timedelta:
            with World(host=host, seed=seed, start=datetime(2030, 1, 1, tzinfo=UTC)) as world:
                monkeypatch.setenv("INNGEST_DEV", world.url)
                world.serve(App(broken=broken).asgi)
                run = world.send("broken", {}).run
                world.until_idle()
                return run.ended_at - run.started_at  # type: ignore[operator]

        assert moments("a") == moments("a") != moments("b")

    def test_a_world_needs_no_pytest(self, monkeypatch: pytest.MonkeyPatch) -> None:
        with World() as world:
            monkeypatch.setenv("INNGEST_DEV", world.url)
            world.serve(App(say=say).asgi)
            assert world.send("say", {"a": 1}).run.output == {"a": 1}

    def test_a_registration_that_is_refused_says_why(self, world: World) -> None:
        app = App(say=say)
        app.triggers["say"] = [{"cron": "every day"}]
        with pytest.raises(AppNotServedError, match="every day"):
            world.serve(app.asgi)
