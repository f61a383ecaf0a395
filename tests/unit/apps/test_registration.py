"""Whole register bodies, as the official SDKs send them and as they never should."""

import copy
from typing import Any

import pytest

from inngest_server.apps.config import CronTrigger, EventTrigger, SingletonMode
from inngest_server.apps.registration import (
    DEPTH_MAX,
    DeployType,
    RegistrationInvalidError,
    parse_registration,
)
from tests.unit.apps.bodies import GO, PYTHON, TYPESCRIPT, make_body, make_function


def refused(body: object) -> RegistrationInvalidError:
    with pytest.raises(RegistrationInvalidError) as caught:
        parse_registration(body)
    return caught.value


def places(body: object) -> list[tuple[str | None, str, str]]:
    return [(p.function_id, p.field, p.code) for p in refused(body).problems]


def checksum(body: object) -> str:
    return parse_registration(body).checksum


def test_a_recorded_python_body_is_read() -> None:
    sync = parse_registration(PYTHON)

    assert (sync.app_name, sync.app_version) == ("shop", "7")
    assert sync.url == "http://localhost:9912/api/inngest"
    assert (sync.sdk, sync.sdk_language, sync.sdk_version) == ("py:v0.5.19", "py", "0.5.19")
    assert (sync.framework, sync.deploy_type) == ("fast_api", DeployType.PING)
    order, batch, failure = sync.functions
    assert order.triggers == (
        EventTrigger("shop/order.created", "event.data.total > 100"),
        CronTrigger("TZ=Europe/Paris 0 9 * * 1-5"),
    )
    assert order.url == "http://localhost:9912/api/inngest?fnId=shop-order&stepId=step"
    assert (order.retries, batch.retries, failure.retries) == (3, 4, 0)
    assert failure.name == "batch (failure)"
    assert [(w.function_id, w.field, w.code) for w in sync.warnings] == [
        ("shop-order", "rateLimit", "ignored"),
        ("shop-order", "concurrency", "caution"),
    ]


def test_a_recorded_typescript_body_is_read() -> None:
    sync = parse_registration(TYPESCRIPT)

    assert (sync.app_name, sync.sdk_language, sync.sdk_version) == ("shop", "js", "4.24.0")
    order, failure, _, noop = sync.functions
    assert order.singleton is not None
    assert order.singleton.mode is SingletonMode.CANCEL
    assert order.cron_triggers[0].jitter_ms == 30_000
    assert failure.max_attempts == 2
    assert noop.triggers == ()


def test_a_body_as_go_sends_it_is_read() -> None:
    sync = parse_registration(GO)

    assert (sync.url, sync.framework, sync.sdk_language) == ("http://localhost:8080/api/inngest", "", "go")
    (order,) = sync.functions
    assert order.concurrency[0].key is None
    assert order.debounce is not None
    assert (order.debounce.key, order.debounce.period_ms) == (None, 60_000)
    assert order.timeouts.start_ms == 3_600_000


@pytest.mark.parametrize(
    ("sdk", "capabilities", "takes_input"),
    [
        ("js:v4.24.0", {"trust_probe": "v1"}, True),
        ("js:v3.54.2", None, True),
        ("py:v0.5.19", {"trust_probe": "v1"}, False),
        ("py:v0.1.0", {"trust_probe": "v1", "edited_input": "v1"}, True),
        ("py:v0.1.0", "edited_input", False),
        ("", None, False),
    ],
)
def test_who_runs_a_step_with_an_edited_input_says_so(
    sdk: str, capabilities: object, takes_input: bool
) -> None:
    body = make_body(sdk=sdk, capabilities=capabilities)
    assert parse_registration(body).takes_input is takes_input


def test_zero_functions_are_accepted() -> None:
    assert parse_registration(make_body()).functions == ()
    assert parse_registration(make_body(functions=None)).functions == ()


@pytest.mark.parametrize("name", ["appName", "appname", "APPNAME"])
def test_top_level_names_match_in_any_case(name: str) -> None:
    body = make_body()
    del body["appName"]

    assert parse_registration({**body, name: "other"}).app_name == "other"


@pytest.mark.parametrize("absent", [None, ""])
def test_an_app_needs_an_id(absent: object) -> None:
    error = refused(make_body(appName=absent))

    assert error.problems[0].code == "app_id_required"
    assert "App ID required" in str(error)


def test_an_app_id_is_bounded() -> None:
    assert parse_registration(make_body(appName="a" * 1000)).app_name == "a" * 1000
    assert places(make_body(appName="a" * 1001)) == [(None, "appName", "too_long")]


@pytest.mark.parametrize(
    ("field", "value", "code"),
    [
        ("url", None, "missing"),
        ("url", "", "missing"),
        ("url", "localhost:3000", "url_invalid"),
        ("url", 5, "wrong_type"),
        ("sdk", 5, "wrong_type"),
        ("framework", [], "wrong_type"),
        ("appVersion", {}, "wrong_type"),
        ("deployType", 5, "wrong_type"),
        ("functions", {}, "wrong_type"),
        ("appName", 5, "wrong_type"),
    ],
)
def test_a_bad_field_of_the_app_is_told(field: str, value: object, code: str) -> None:
    assert places(make_body(**{field: value})) == [(None, field, code)]


@pytest.mark.parametrize(
    ("fields", "deploy_type"),
    [
        ({}, DeployType.PING),
        ({"deployType": ""}, DeployType.PING),
        ({"deployType": "connect"}, DeployType.CONNECT),
        ({"deploy_type": "connect"}, DeployType.CONNECT),
        ({"deployType": "ping", "deploy_type": "connect"}, DeployType.PING),
    ],
)
def test_the_deploy_type_is_ping_unless_told(fields: dict[str, object], deploy_type: DeployType) -> None:
    sync = parse_registration(make_body(**fields))

    assert sync.deploy_type is deploy_type
    assert sync.warnings == ()


def test_an_unknown_deploy_type_counts_as_ping_with_a_warning() -> None:
    sync = parse_registration(make_body(deployType="carrier-pigeon"))

    assert sync.deploy_type is DeployType.PING
    assert [warning.field for warning in sync.warnings] == ["deployType"]


def test_a_connected_app_needs_no_url() -> None:
    assert parse_registration(make_body(deployType="connect", url=None)).url == ""
    assert parse_registration(make_body(deployType="connect", url="ws://connect?app_name=shop")).url != ""


@pytest.mark.parametrize(
    ("sdk", "language", "version"),
    [
        (None, "", ""),
        ("py", "py", ""),
        ("py:0.5.19", "py", "0.5.19"),
        ("js:v4.0.0-beta.1", "js", "4.0.0-beta.1"),
    ],
)
def test_the_sdk_is_split_at_the_colon(sdk: object, language: str, version: str) -> None:
    sync = parse_registration(make_body(sdk=sdk))

    assert (sync.sdk_language, sync.sdk_version) == (language, version)


def test_two_functions_cannot_share_an_id() -> None:
    body = make_body(make_function(), make_function(name="Other"))

    assert places(body) == [("shop-order", "id", "duplicate")]


@pytest.mark.parametrize("function", [None, 5, "f", []])
def test_a_function_is_an_object(function: object) -> None:
    assert places(make_body(make_function(), function)) == [(None, "functions[1]", "wrong_type")]


def test_a_function_without_id_is_named_by_its_place() -> None:
    nameless = make_function(id=None, idempotency="((")

    assert places(make_body(make_function(), nameless)) == [
        (None, "functions[1].id", "missing"),
        (None, "functions[1].idempotency", "expression_invalid"),
    ]


@pytest.mark.parametrize("body", [None, True, 5, 1.5, "text", [], [{}]])
def test_a_body_that_is_no_object_is_an_invalid_request(body: object) -> None:
    assert str(refused(body)).startswith("Invalid request: ")
    assert refused(body).code == "config_invalid"


def test_nesting_is_bounded() -> None:
    def nested(levels: int) -> object:
        value: object = 1
        for level in range(levels):
            value = [value] if level % 2 else {"a": value}
        return value

    parse_registration(make_body(unknown=nested(DEPTH_MAX - 1)))
    assert places(make_body(unknown=nested(DEPTH_MAX))) == [(None, "", "invalid_request")]
    assert places(make_body(unknown=nested(100_000))) == [(None, "", "invalid_request")]


def test_problems_of_the_app_and_of_every_function_are_told_at_once_one_a_line() -> None:
    error = refused(
        make_body(
            make_function(id="shop-a", throttle={"limit": 1, "period": "0s"}),
            make_function(id="shop-b"),
            make_function(id="shop-c\n", triggers=[{"event": "*"}], idempotency="(("),
            appName="",
            url="nowhere",
        )
    )

    lines = str(error).split("\n")
    assert [line.partition(": ")[0] for line in lines] == [
        "appName",
        "url",
        'function "shop-a"',
        'function "shop-c\\n"',
        'function "shop-c\\n"',
    ]
    assert lines[2] == (
        'function "shop-a": throttle.period: "0s" is out of range; use a duration from 1s to 7d'
    )
    assert error.problems[2].to_json() == {
        "function_id": "shop-a",
        "field": "throttle.period",
        "code": "out_of_range",
        "message": '"0s" is out of range; use a duration from 1s to 7d',
    }


def test_only_the_first_hundred_problems_are_listed() -> None:
    error = refused(make_body(*[make_function(id=f"f{i}", triggers=5) for i in range(130)]))

    assert (len(error.problems), error.problems_left_out) == (100, 30)
    assert len(str(error).split("\n")) == 101
    assert "30 more" in str(error)


# Checksums.


def edited(body: dict[str, Any], **changes: object) -> dict[str, Any]:
    return {**copy.deepcopy(body), **changes}


def test_the_same_sync_has_the_same_checksum() -> None:
    assert checksum(PYTHON) == checksum(copy.deepcopy(PYTHON))
    assert len(checksum(PYTHON)) == 64


def test_what_does_not_matter_does_not_change_the_checksum() -> None:
    reordered = edited(PYTHON, functions=PYTHON["functions"][::-1])
    observed = edited(PYTHON, featureObservations={"a": 1}, deployId="d", url=PYTHON["url"] + "?deployId=d")
    elsewhere = copy.deepcopy(PYTHON)
    for function in elsewhere["functions"]:
        runtime = function["steps"]["step"]["runtime"]
        runtime["url"] = runtime["url"].replace("127.0.0.1", "localhost")

    assert {checksum(body) for body in (PYTHON, reordered, observed, elsewhere)} == {checksum(PYTHON)}


@pytest.mark.parametrize(
    "change",
    [{"appname": "x"}, {"url": "http://b/x"}, {"sdk": "py:v0.6"}, {"appVersion": "8"}, {"framework": "x"}],
)
def test_what_the_app_says_of_itself_changes_the_checksum(change: dict[str, object]) -> None:
    assert checksum(edited(PYTHON, **change)) != checksum(PYTHON)


@pytest.mark.parametrize("change", [{"retries": 1}, {"name": "x"}, {"concurrency": 1}, {"unknown": 1}])
def test_what_a_function_says_changes_the_checksum(change: dict[str, object]) -> None:
    assert checksum(make_body(make_function(**change))) != checksum(make_body(make_function()))
