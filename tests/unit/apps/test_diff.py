from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.diff import SyncDiff, diff_sync
from tests.unit.apps.bodies import make_function


def function(slug: str, **options: object) -> FunctionConfig:
    return FunctionConfig.from_json(make_function(id=slug, **options))


def cron(slug: str, *texts: str, **trigger: object) -> FunctionConfig:
    return function(slug, triggers=[{"cron": text, **trigger} for text in texts])


def test_functions_are_told_apart_by_slug() -> None:
    old = [function("a"), function("b"), function("c")]
    new = [function("d"), function("c", retries=1), function("b")]

    assert diff_sync(old, new) == SyncDiff(
        added=("d",), changed=("c",), unchanged=("b",), removed=("a",), crons_changed=()
    )


def test_a_sync_that_says_the_same_changes_nothing() -> None:
    diff = diff_sync([function("a"), cron("b", "0 9 * * *")], [cron("b", "0 9 * * *"), function("a")])

    assert diff.is_empty
    assert diff.crons_changed == ()
    assert diff_sync([], []).is_empty


def test_unknown_keys_and_spelling_are_no_change() -> None:
    assert diff_sync([function("a")], [function("a", unknown=1, retries=4, concurrency=0)]).is_empty


def test_only_functions_whose_schedules_differ_are_set_anew() -> None:
    old = [
        cron("same", "0 9 * * *", "0 8 * * *"),
        cron("moved", "0 9 * * *"),
        cron("jittered", "0 9 * * *"),
        cron("gone", "0 9 * * *"),
        function("stopped", triggers=[{"cron": "0 9 * * *"}, {"event": "a"}]),
        function("plain"),
    ]
    new = [
        cron("fresh", "0 9 * * *"),
        FunctionConfig.from_json({**cron("same", "0 8 * * *", "0 9 * * *").to_json(), "name": "Renamed"}),
        cron("moved", "0 10 * * *"),
        cron("jittered", "0 9 * * *", jitter="5s"),
        function("stopped", triggers=[{"event": "a"}]),
        function("plain", retries=0),
    ]

    diff = diff_sync(old, new)

    assert diff.changed == ("same", "moved", "jittered", "stopped", "plain")
    assert diff.crons_changed == ("fresh", "moved", "jittered", "stopped", "gone")
