import pytest

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.unenforced import OPTIONS, unenforced_options
from tests.unit.apps.bodies import make_function

NOTHING: frozenset[str] = frozenset()
EVERYTHING = frozenset(OPTIONS)


def unenforced(enforced: frozenset[str], **options: object) -> tuple[str, ...]:
    return unenforced_options(FunctionConfig.from_json(make_function(**options)), enforced)


def test_a_plain_function_needs_nothing() -> None:
    assert unenforced(NOTHING, retries=3, checkpoint={"batch_steps": 3}, concurrency=0) == ()


@pytest.mark.parametrize(
    ("options", "names"),
    [
        ({"triggers": [{"cron": "0 9 * * *"}]}, ("triggers.cron",)),
        ({"triggers": [{"cron": "0 9 * * *", "jitter": "5s"}]}, ("triggers.cron", "triggers.cron.jitter")),
        ({"throttle": {"limit": 1, "period": "1m"}}, ("throttle",)),
        ({"rateLimit": {"limit": 1, "period": "1m"}}, ("rateLimit",)),
        ({"idempotency": "event.data.id"}, ("idempotency",)),
        ({"debounce": {"period": "1m"}}, ("debounce",)),
        ({"batchEvents": {"maxSize": 2, "timeout": "1s"}}, ("batchEvents",)),
        ({"priority": {"run": "1"}}, ("priority",)),
        ({"cancel": [{"event": "a"}]}, ("cancel",)),
        ({"timeouts": {"start": "1m"}}, ("timeouts.start",)),
        ({"timeouts": {"finish": "1m"}}, ("timeouts.finish",)),
        ({"singleton": {"mode": "skip"}}, ("singleton",)),
        ({"concurrency": 5}, ("concurrency.step",)),
        ({"concurrency": {"limit": 5, "key": "'k'"}}, ("concurrency.step", "concurrency.key")),
        ({"concurrency": {"fn": [{"limit": 5}]}}, ("concurrency.fn",)),
        (
            {"concurrency": {"limit": 5, "key": "'k'", "scope": "env"}},
            ("concurrency.step", "concurrency.key", "concurrency.scope:env"),
        ),
        (
            {"concurrency": {"step": {"limit": 5, "key": "'k'", "scope": "account"}}},
            ("concurrency.step", "concurrency.key", "concurrency.scope:account"),
        ),
    ],
)
def test_each_option_has_its_name(options: dict[str, object], names: tuple[str, ...]) -> None:
    assert unenforced(NOTHING, **options) == names
    assert unenforced(EVERYTHING, **options) == ()
    for name in names:
        assert unenforced(EVERYTHING - {name}, **options) == (name,)


def test_keyed_steps_can_be_enforced_without_whole_runs_and_shared_limits() -> None:
    steps = frozenset({"concurrency.step", "concurrency.key"})

    assert unenforced(steps, concurrency=[{"limit": 5, "key": "'k'"}, {"limit": 9}]) == ()
    assert unenforced(
        steps, concurrency={"fn": [{"limit": 1, "key": "'k'"}], "step": [{"limit": 5, "key": "'k'"}]}
    ) == ("concurrency.fn",)
    assert unenforced(steps, concurrency=[{"limit": 5, "key": "'k'", "scope": "env"}]) == (
        "concurrency.scope:env",
    )


def test_what_has_no_effect_by_rule_is_not_told() -> None:
    both = {"idempotency": "event.data.id", "rateLimit": {"limit": 1, "period": "1m"}}

    assert unenforced(NOTHING, **both) == ("idempotency",)
    assert unenforced(NOTHING, **both, batchEvents={"maxSize": 2, "timeout": "1s"}) == ("batchEvents",)
