"""Histories of runs of the real engine: the code that made them follows them and executes nothing."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inngest_server.cli.main import main
from inngest_server.testing import Run, World
from inngest_server.testing.errors import HistoriesDifferError
from inngest_server.traces.exported import BadHistoryError, from_json, to_json
from tests.testing.apps import App, StepError, Steps
from tests.testing.serving import served


class Shop:
    """Code of steps that counts how often it was executed."""

    def __init__(self) -> None:
        self.executed = 0

    def code(self, value: Any, *, failures: int = 0) -> Callable[[], Any]:
        def execute() -> Any:
            self.executed += 1
            if self.executed <= failures:
                raise ValueError(f"failure {self.executed}")
            return value

        return execute


def sequence(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    a = steps.run("a", shop.code({"n": 2**60}))
    return steps.run("b", shop.code([a, 1.5, None, "é"]))


def group(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    first = steps.run("first", shop.code(1))
    both = steps.parallel(left=shop.code(2), right=shop.code(3))
    return [first, both, steps.run("last", shop.code(4))]


def retried(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    return steps.run("flaky", shop.code("ok", failures=2))


def caught(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    try:
        steps.run("broken", shop.code("never", failures=99))
    except StepError as error:
        return steps.run("mend", shop.code(f"after {error}"))


def failed(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    steps.run("a", shop.code(1))
    raise LookupError("no such order")


def waits(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    steps.sleep("nap", "1h")
    found = steps.wait_for_event("paid", "paid", "2d", "event.data.id == async.data.id")
    missed = steps.wait_for_event("never", "never", "1h")
    signal = steps.wait_for_signal("go", "go", "1h")
    return [found["data"], missed, signal, steps.run("end", shop.code(1))]


def invokes(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    good = steps.invoke("good", "other-good", {"n": 1})
    try:
        steps.invoke("bad", "other-bad")
    except StepError as error:
        return [good, str(error), steps.fetch("rate", "https://api.example.com/rate")["body"]]


def bare(shop: Shop, event: dict[str, Any], steps: Steps) -> Any:
    return event["data"]


CODES = (sequence, group, retried, caught, failed, waits, invokes, bare)


def lived(world: World, code: Any, shop: Shop) -> Run:
    """A run of the code that has ended."""
    app = App(order=lambda event, steps: code(shop, event, steps))
    world.serve(app.asgi)
    world.stub_function("other-good", lambda event: event["data"]["n"])
    world.stub_function("other-bad", lambda event: 1 / 0)
    world.stub_http("https://api.example.com/rate", {"rate": 2})
    run = world.send("order", {"id": 7}).run
    world.advance("2h")
    world.send("paid", {"id": 7, "by": "card"})
    world.until_idle()
    assert run.has_ended
    return run


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.__name__)
def test_the_code_that_made_a_history_follows_it(world: World, code: Any) -> None:
    shop = Shop()
    run = lived(world, code, shop)
    executed, calls = shop.executed, len(world.calls)

    world.check_histories([run.history], compare_output=run.status == "Completed")

    assert (shop.executed, len(world.calls)) == (executed, calls)


@pytest.mark.parametrize("code", CODES, ids=lambda code: code.__name__)
def test_a_history_is_the_same_from_a_file(world: World, code: Any) -> None:
    history = lived(world, code, Shop()).history
    assert to_json(from_json(json.loads(json.dumps(history)))) == history


@pytest.mark.parametrize("code", [sequence, group, waits, invokes], ids=lambda code: code.__name__)
def test_other_code_leaves_it(world: World, code: Any) -> None:
    shop = Shop()
    history = lived(world, code, shop).history
    world.serve(App(order=lambda event, steps: steps.run("new", shop.code(1))).wsgi)
    executed = shop.executed
    with pytest.raises(HistoriesDifferError, match="the code asks for 'new'"):
        world.check_histories([history])
    assert shop.executed == executed


def test_runs_that_wait_are_followed_to_where_they_are(world: World) -> None:
    shop = Shop()
    app = App(order=lambda event, steps: waits(shop, event, steps))
    world.serve(app.asgi)
    run = world.send("order", {"id": 7}).run
    histories = [run.history]
    world.advance("1h")
    histories.append(run.history)
    world.send("paid", {"id": 7})
    histories.append(run.history)
    assert [[step["name"] for step in history["open"]] for history in histories] == [
        ["nap"],
        ["paid"],
        ["never"],
    ]
    world.check_histories(histories)

    app.functions["order"] = lambda event, steps: [
        steps.sleep("nap", "1h"),
        steps.wait_for_event("paid", "payed", "2d", "event.data.id == async.data.id"),
    ]
    world.check_histories(histories[:1])
    with pytest.raises(HistoriesDifferError, match="event of 'paid' was 'paid' in the run, and is 'payed'"):
        world.check_histories(histories[1:2])


def test_a_batch_brings_all_of_its_events(world: World) -> None:
    app = App(order=lambda event, steps: steps.run(f"step of {event['data']['n']}", lambda: 1))
    app.options["order"] = {"batchEvents": {"maxSize": 3, "timeout": "10s"}}
    world.serve(app.asgi)
    run = world.send(*({"name": "order", "data": {"n": n}} for n in range(3))).run
    assert [event["data"]["n"] for event in run.history["events"]] == [0, 1, 2]
    world.check_histories([run.history])


def test_a_rerun_from_a_step_is_followed_from_there(world: World) -> None:
    shop = Shop()
    run = lived(world, group, shop)
    again = run.rerun(from_step="last")
    world.until_idle()
    assert again.status == "Completed"
    assert [step.get("taken_over", False) for step in again.history["steps"]] == [True, True, True, False]
    world.check_histories([again.history])


def test_keys_of_requests_are_not_exported(world: World) -> None:
    def ask(event: dict[str, Any], steps: Steps) -> Any:
        return steps.infer("ask", "https://api.example.com/chat", "sk-secret-secret")

    world.serve(App(ask=ask).asgi)
    world.stub_http("https://api.example.com/*", {"text": "hello"})
    run = world.send("ask", {}).run
    assert run.output == {"text": "hello"}
    assert world.http_requests[0].headers["authorization"] == "Bearer sk-secret-secret"
    assert "sk-secret-secret" not in json.dumps(run.history)
    world.check_histories([run.history])


def test_a_function_that_nobody_serves_could_not_be_asked(world: World) -> None:
    history = lived(world, bare, Shop()).history
    with pytest.raises(HistoriesDifferError, match="no app of this world serves function other-order"):
        world.check_histories([{**history, "function": "other-order"}])


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "line 1"),
        ('{"a": 1}', "no history"),
        ('{"format": 2}', "format 2"),
        ("[]", "no history"),
        ('{"format":1,"run_id":"r","function":"f","status":"Odd","events":[{}],"steps":[],"open":[]}', "Odd"),
        (
            '{"format":1,"run_id":"r","function":"f","status":"Failed","events":[],"steps":[],"open":[]}',
            "event",
        ),
    ],
)
def test_a_file_that_has_no_histories_is_refused(world: World, tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "histories.jsonl"
    path.write_text(text)
    with pytest.raises(BadHistoryError, match=said) as refused:
        world.check_histories(path)
    assert str(path) in str(refused.value)


def test_histories_go_from_a_server_through_a_file_to_an_app(
    world: World, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = App(order=lambda event, steps: steps.run("a", lambda: event["data"]["n"]), other=lambda *_: 1)
    world.serve(app.asgi)
    first, second = world.send({"name": "order", "data": {"n": 1}}, {"name": "order", "data": {"n": 2}})
    world.send("other", {})

    server = ["--server", world.url]
    assert main(["history", first.id, "--function", "shop-order", "--limit", "5", *server]) == 0

    lines = capsys.readouterr().out
    assert {json.loads(line)["run_id"] for line in lines.splitlines()} == {first.id, second.id}
    assert len(lines.splitlines()) == 2
    (tmp_path / "histories.jsonl").write_text(lines)
    with served(app) as url:
        assert main(["replay", "histories.jsonl", "--url", url]) == 0
    assert main(["history", "--function", "shop-order", "--status", "failed", *server]) == 0
    assert main(["history", "01M7XS5QAHR7NVEGQZWEPCV45A", *server]) == 1
    assert main(["history", *server]) == 2
    assert "takes ids of runs, or --function" in capsys.readouterr().err
