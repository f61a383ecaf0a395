"""One function: identity, step, triggers, cancellation, and a configuration as a whole (protocol 2.7)."""

from typing import Any

import pytest

from inngest_server.apps.config import (
    CancelOn,
    CronTrigger,
    EventTrigger,
    FunctionConfig,
    RateLimit,
    Singleton,
    SingletonMode,
    Timeouts,
)
from inngest_server.apps.problems import Findings, RegistrationInvalidError
from tests.unit.apps import bodies
from tests.unit.apps.bodies import make_function, problems, read, warnings


def step(**fields: object) -> dict[str, object]:
    return {"step": {"runtime": {"url": "http://app/x"}, **fields}}


def test_a_plain_function_has_the_documented_defaults() -> None:
    config = read()

    assert config == FunctionConfig(
        id="shop-order",
        name="Order",
        url="http://app/x?fnId=f",
        triggers=(EventTrigger("shop/order.created"),),
    )
    assert config.retries == 4
    assert config.max_attempts == 5
    assert config.timeouts == Timeouts()
    assert config.raw == make_function()


@pytest.mark.parametrize("name", [None, ""])
def test_a_function_without_a_name_is_called_by_its_id(name: object) -> None:
    assert read(name=name).name == "shop-order"


@pytest.mark.parametrize("absent", [None, ""])
def test_a_function_needs_an_id(absent: object) -> None:
    with pytest.raises(RegistrationInvalidError) as caught:
        read(id=absent)

    assert [(p.function_id, p.field, p.code) for p in caught.value.problems] == [(None, "id", "missing")]


def test_an_id_is_bounded() -> None:
    assert read(id="x" * 1000).id == "x" * 1000
    findings = Findings()
    FunctionConfig.read(make_function(id="x" * 1001), findings)
    assert [problem.code for problem in findings.problems] == ["too_long"]
    assert len(findings.problems[0].line) < 300


def test_names_match_in_any_case_at_every_level_and_unknown_ones_are_ignored() -> None:
    config = FunctionConfig.from_json(
        {
            "ID": "f",
            "Triggers": [{"EVENT": "a/b", "Expression": "true", "what": 1}],
            "STEPS": {"Step": {"Runtime": {"URL": "http://app/x"}, "RETRIES": {"Attempts": 2}}},
            "ratelimit": {"LIMIT": 2, "Period": "1m"},
            "BatchEvents": None,
            "unknown": {"a": [1]},
        }
    )

    assert config.triggers == (EventTrigger("a/b", "true"),)
    assert (config.url, config.retries) == ("http://app/x", 2)
    assert config.rate_limit == RateLimit(2, 60_000)


def test_the_exact_spelling_of_a_name_wins() -> None:
    assert read(NAME="other").name == "Order"


# Steps and retries.


@pytest.mark.parametrize(
    ("options", "retries"),
    [
        ({"steps": step(retries={"attempts": 0})}, 0),
        ({"steps": step(retries={"attempts": 3}), "retries": 7}, 3),
        ({"steps": step(retries={"attempts": 3.0})}, 3),
        ({"steps": step(retries=6)}, 6),
        ({"steps": step(retries=None), "retries": 7}, 7),
        ({"steps": step(retries={}), "retries": {"attempts": 7}}, 7),
        ({"steps": step()}, 4),
        ({"steps": step(retries={"attempts": 20})}, 20),
    ],
)
def test_retries_come_from_the_step_then_the_function_then_the_default(
    options: dict[str, object], retries: int
) -> None:
    assert read(**options).retries == retries
    assert warnings(**options) == []


def test_more_retries_than_allowed_are_clamped_with_a_warning() -> None:
    options = {"steps": step(retries={"attempts": 21})}

    assert read(**options).retries == 20
    assert read(**options).max_attempts == 21
    assert warnings(**options) == [("steps.step.retries.attempts", "clamped")]


@pytest.mark.parametrize(
    ("attempts", "code"),
    [(-1, "out_of_range"), (1.5, "wrong_type"), (True, "wrong_type"), ("3", "wrong_type")],
)
def test_retries_are_a_whole_number_from_zero(attempts: object, code: str) -> None:
    found = problems(steps=step(retries={"attempts": attempts}))

    assert found == [("steps.step.retries.attempts", code)]


@pytest.mark.parametrize(
    ("steps", "field", "code"),
    [
        (None, "steps", "missing"),
        ({}, "steps", "missing"),
        ([], "steps", "wrong_type"),
        ({"step": None}, "steps.step", "missing"),
        ({"step": 1}, "steps.step", "wrong_type"),
        ({"step": {}}, "steps.step.runtime", "missing"),
        ({"step": {"runtime": "x"}}, "steps.step.runtime", "wrong_type"),
        ({"step": {"runtime": {"url": ""}}}, "steps.step.runtime.url", "missing"),
        ({"step": {"runtime": {"url": 5}}}, "steps.step.runtime.url", "wrong_type"),
        ({"step": {"runtime": {"url": "/api"}}}, "steps.step.runtime.url", "url_invalid"),
    ],
)
def test_a_function_needs_a_url(steps: object, field: str, code: str) -> None:
    assert problems(steps=steps) == [(field, code)]


def test_a_single_step_of_another_name_is_used() -> None:
    assert read(steps={"main": {"runtime": {"url": "http://app/y"}}}).url == "http://app/y"


def test_of_several_steps_the_one_called_step_is_used_with_a_warning() -> None:
    steps = {"a": {"runtime": {"url": "http://app/a"}}, **step()}

    assert read(steps=steps).url == "http://app/x"
    assert warnings(steps=steps) == [("steps", "several_steps")]


@pytest.mark.parametrize(
    ("url", "connected"),
    [("http://a/x", False), ("https://a/x", False), ("ws://a", True), ("wss://a?f=1", True)],
)
def test_the_scheme_and_not_the_runtime_type_tells_the_transport(url: str, connected: bool) -> None:
    config = read(steps={"step": {"runtime": {"type": "http", "url": url}}})

    assert config.is_connected is connected


# Triggers.


@pytest.mark.parametrize("triggers", [None, []])
def test_a_function_without_triggers_is_only_invoked(triggers: object) -> None:
    assert read(triggers=triggers).triggers == ()


@pytest.mark.parametrize("name", ["a", "a/b.c", "shop/*", "shop/order.*", "a/*", "e" * 255])
def test_event_names_and_wildcards_that_can_match_are_accepted(name: str) -> None:
    assert read(triggers=[{"event": name}]).event_triggers == (EventTrigger(name),)


@pytest.mark.parametrize("name", ["*", "app/user.update*", "app/blog.*.published", "*/a", "a/**", "a/*.*"])
def test_wildcards_that_never_match_are_refused(name: str) -> None:
    assert problems(triggers=[{"event": name}]) == [("triggers[0].event", "wildcard_invalid")]


def test_an_event_name_in_a_trigger_has_at_most_255_characters() -> None:
    assert problems(triggers=[{"event": "e" * 256}]) == [("triggers[0].event", "too_long")]


@pytest.mark.parametrize(
    ("trigger", "field", "code"),
    [
        ({}, "triggers[0].event", "missing"),
        ({"event": "", "cron": None}, "triggers[0].event", "missing"),
        ({"event": "a", "cron": "* * * * *"}, "triggers[0].cron", "conflict"),
        ({"event": 5}, "triggers[0].event", "wrong_type"),
        ({"event": "a", "expression": "event.data ==="}, "triggers[0].expression", "expression_invalid"),
        ({"event": "a", "expression": 5}, "triggers[0].expression", "wrong_type"),
        ("a/b", "triggers[0]", "wrong_type"),
        ({"cron": "every day"}, "triggers[0].cron", "cron_invalid"),
        ({"cron": "* " * 130}, "triggers[0].cron", "too_long"),
        ({"cron": "* * * * *", "jitter": "999ms"}, "triggers[0].jitter", "out_of_range"),
        ({"cron": "* * * * *", "jitter": "301s"}, "triggers[0].jitter", "out_of_range"),
        ({"cron": "* * * * *", "jitter": "soon"}, "triggers[0].jitter", "duration_invalid"),
        ({"cron": "* * * * *", "jitter": 30}, "triggers[0].jitter", "wrong_type"),
    ],
)
def test_a_bad_trigger_is_told(trigger: object, field: str, code: str) -> None:
    assert problems(triggers=[trigger]) == [(field, code)]


@pytest.mark.parametrize(
    ("jitter", "jitter_ms"), [(None, 0), ("", 0), (0, 0), ("0", 0), ("1s", 1_000), ("5m", 300_000)]
)
def test_jitter_is_nothing_or_from_one_second_to_five_minutes(jitter: object, jitter_ms: int) -> None:
    config = read(triggers=[{"cron": "0 9 * * 1-5", "jitter": jitter}])

    assert config.cron_triggers == (CronTrigger("0 9 * * 1-5", jitter_ms),)


def test_there_are_at_most_ten_triggers() -> None:
    assert len(read(triggers=[{"event": f"e{i}"} for i in range(10)]).triggers) == 10
    assert problems(triggers=[{"event": f"e{i}"} for i in range(11)]) == [("triggers", "too_many")]


@pytest.mark.parametrize(
    "twice",
    [
        [{"event": "a"}, {"event": "a", "expression": ""}],
        [{"event": "a", "expression": "true"}, {"event": "a", "expression": "true"}],
        [{"cron": "0 9 * * *"}, {"cron": "0 9 * * *", "jitter": "5s"}],
    ],
)
def test_a_trigger_must_not_be_there_twice(twice: list[object]) -> None:
    assert problems(triggers=twice) == [("triggers[1]", "duplicate")]


def test_one_event_with_two_expressions_is_two_triggers() -> None:
    both = [{"event": "a", "expression": "event.data.x"}, {"event": "a", "expression": "event.data.y"}]

    assert len(read(triggers=both).triggers) == 2


# Priority, cancellation, timeouts, singleton, checkpoint.


def test_priority_is_an_expression() -> None:
    assert read(priority={"run": "event.data.plan == 'pro' ? 120 : 0"}).priority_key is not None
    assert read(priority={}).priority_key is None
    assert problems(priority={"run": "1 +"}) == [("priority.run", "expression_invalid")]
    assert problems(priority=5) == [("priority", "wrong_type")]


@pytest.mark.parametrize(
    "timeout", [None, "", "1h", "2.5d", "2030-01-31T12:00:00Z", "2030-01-31T12:00:00.5+02:00"]
)
def test_cancel_takes_a_duration_or_a_moment(timeout: str | None) -> None:
    config = read(cancel=[{"event": "a", "if": "event.data.id == async.data.id", "timeout": timeout}])

    assert config.cancel == (CancelOn("a", "event.data.id == async.data.id", timeout or None),)


@pytest.mark.parametrize(
    ("cancel", "field", "code"),
    [
        ({}, "cancel[0].event", "missing"),
        ({"event": "a", "timeout": "0"}, "cancel[0].timeout", "out_of_range"),
        ({"event": "a", "timeout": "-1h"}, "cancel[0].timeout", "out_of_range"),
        ({"event": "a", "timeout": "101w" * 60}, "cancel[0].timeout", "timeout_invalid"),
        ({"event": "a", "timeout": "200000d"}, "cancel[0].timeout", "timeout_invalid"),
        ({"event": "a", "timeout": "36526d"}, "cancel[0].timeout", "out_of_range"),
        ({"event": "a", "timeout": "2030-02-31T12:00:00Z"}, "cancel[0].timeout", "timeout_invalid"),
        ({"event": "a", "timeout": "tomorrow"}, "cancel[0].timeout", "timeout_invalid"),
        ({"event": "a", "if": "async.data.id =="}, "cancel[0].if", "expression_invalid"),
        ({"event": "a", "if": "async.data.n + 1 == 2"}, "cancel[0].if", "expression_restricted"),
        ("a", "cancel[0]", "wrong_type"),
    ],
)
def test_a_bad_cancellation_is_told(cancel: object, field: str, code: str) -> None:
    assert (field, code) in problems(cancel=[cancel])
    assert {where for where, _ in problems(cancel=[cancel])} == {field}


def test_there_are_at_most_five_cancellations() -> None:
    assert len(read(cancel=[{"event": f"e{i}"} for i in range(5)]).cancel) == 5
    assert problems(cancel=[{"event": f"e{i}"} for i in range(6)]) == [("cancel", "too_many")]
    assert problems(cancel={"event": "a"}) == [("cancel", "wrong_type")]


def test_timeouts_are_durations() -> None:
    assert read(timeouts={"start": "10m", "finish": "1h0m0s"}).timeouts == Timeouts(600_000, 3_600_000)
    assert read(timeouts={"start": "", "finish": None}).timeouts == Timeouts()
    assert problems(timeouts={"start": "0s", "finish": "soon"}) == [
        ("timeouts.start", "out_of_range"),
        ("timeouts.finish", "duration_invalid"),
    ]


@pytest.mark.parametrize(
    ("option", "singleton"),
    [
        ({"mode": "skip"}, Singleton(SingletonMode.SKIP)),
        ({"mode": "cancel", "key": "event.data.id"}, Singleton(SingletonMode.CANCEL, "event.data.id")),
        ({"key": ""}, Singleton(SingletonMode.SKIP)),
        (None, None),
    ],
)
def test_singleton_skips_unless_told_otherwise(option: object, singleton: Singleton | None) -> None:
    assert read(singleton=option).singleton == singleton


def test_a_bad_singleton_is_told_and_one_with_concurrency_warned_about() -> None:
    assert problems(singleton={"mode": "queue"}) == [("singleton.mode", "unknown_value")]
    assert warnings(singleton={"mode": "skip"}, concurrency=5) == [("concurrency", "caution")]


def test_checkpoint_is_kept_as_it_came() -> None:
    assert read(checkpoint={"batch_steps": 3, "max_runtime": "60s"}).checkpoint == {
        "batch_steps": 3,
        "max_runtime": "60s",
    }
    assert hash(read(checkpoint={"a": []})) is not None


# The whole.


EVERYTHING: list[dict[str, Any]] = [
    make_function(),
    make_function(
        idempotency="event.data.id",
        concurrency={"fn": [{"limit": 1}], "step": [{"limit": 2, "key": "'k'", "scope": "account"}, 7]},
        throttle={"limit": 10, "period": "90s", "burst": 2, "key": "event.data.t"},
        rateLimit={"limit": 1, "period": "1500ms"},
        debounce={"period": "5m", "timeout": "30m"},
        priority={"run": "60"},
        cancel=[{"event": "a"}, {"event": "b", "if": "event.data.id == async.data.id", "timeout": "1h"}],
        timeouts={"finish": "1d"},
        singleton={"mode": "cancel"},
        checkpoint=True,
        retries=0,
    ),
    make_function(batchEvents={"maxSize": 100, "timeout": "5s", "key": "event.data.u", "if": "event.data.b"}),
    make_function(
        triggers=[{"cron": "0 9 * * 1-5", "jitter": "30s"}, {"event": "a/*", "expression": "true"}],
        steps={"step": {"runtime": {"url": "wss://connect?fnId=f&stepId=step"}, "retries": {"attempts": 9}}},
    ),
    *bodies.PYTHON["functions"],
    *bodies.TYPESCRIPT["functions"],
    *bodies.GO["functions"],
]


@pytest.mark.parametrize("json", EVERYTHING)
def test_a_config_survives_writing_and_reading(json: dict[str, Any]) -> None:
    config = FunctionConfig.from_json(json)

    again = FunctionConfig.from_json(config.to_json())

    assert again == config
    assert again.checksum == config.checksum
    assert FunctionConfig.from_json(config.raw) == config
    assert config.raw == json
    assert again.to_json() == config.to_json()


def test_the_written_form_is_that_of_the_newest_sdks() -> None:
    json = bodies.TYPESCRIPT["functions"][0]

    written = FunctionConfig.from_json(json).to_json()

    # Defaults that we write out, and the normalised address; all else is word for word.
    assert written == {
        **json,
        "concurrency": [{"limit": 5, "scope": "fn"}],
        "throttle": {"limit": 10, "period": "1m", "burst": 1},
        "steps": {
            "step": {
                **json["steps"]["step"],
                "runtime": {
                    "type": "http",
                    "url": "http://localhost:9922/api/inngest?fnId=shop-order&stepId=step",
                },
            }
        },
    }


def test_every_problem_of_a_function_is_told_at_once() -> None:
    found = problems(
        triggers=[{"event": "a*"}, {"cron": "nope"}, {}],
        concurrency=[{"limit": -1, "scope": "env", "key": "(("}],
        throttle={"limit": "ten", "period": "0s"},
        rateLimit={"period": "25h"},
        debounce={},
        timeouts={"start": "x"},
        singleton={"mode": "x"},
        priority={"run": "(("},
        cancel=[{"timeout": "x"}],
        idempotency="((",
        batchEvents={"maxSize": 1},
    )

    assert sorted(found) == sorted(
        [
            ("triggers[0].event", "wildcard_invalid"),
            ("triggers[1].cron", "cron_invalid"),
            ("triggers[2].event", "missing"),
            ("concurrency[0].limit", "out_of_range"),
            ("concurrency[0].key", "expression_invalid"),
            ("throttle.limit", "wrong_type"),
            ("throttle.period", "out_of_range"),
            ("rateLimit.limit", "missing"),
            ("rateLimit.period", "out_of_range"),
            ("idempotency", "expression_invalid"),
            ("debounce.period", "missing"),
            ("cancel[0].event", "missing"),
            ("cancel[0].timeout", "timeout_invalid"),
            ("timeouts.start", "duration_invalid"),
            ("singleton.mode", "unknown_value"),
            ("priority.run", "expression_invalid"),
            ("batchEvents.maxSize", "out_of_range"),
            ("batchEvents.timeout", "missing"),
            ("cancel", "conflict"),
            ("debounce", "conflict"),
            ("priority", "conflict"),
            ("singleton", "conflict"),
        ]
    )
