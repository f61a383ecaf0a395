"""Whatever JSON arrives, a registration is read or refused with reasons; nothing else ever escapes."""

from hypothesis import given, settings
from hypothesis import strategies as st

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.registration import Registration, RegistrationInvalidError, parse_registration
from inngest_server.wire.json import dumps, parse
from tests.unit.apps.bodies import GO, PYTHON, TYPESCRIPT

NAMES = sorted(
    {
        "appName", "url", "deployType", "sdk", "functions", "id", "name", "triggers", "event", "cron",
        "jitter", "expression", "steps", "step", "runtime", "retries", "attempts", "concurrency",
        "limit", "key", "scope", "fn", "throttle", "period", "burst", "rateLimit", "idempotency",
        "debounce", "timeout", "batchEvents", "maxSize", "if", "priority", "run", "cancel", "timeouts",
        "start", "finish", "singleton", "mode", "checkpoint",
    }
)  # fmt: skip
TEXTS = [
    "", "1s", "5m", "99999w", "-1h", "a/b", "a/*", "*", "event.data.id", "((", "event.data.a == async.data.b",
    "0 9 * * *", "TZ=Nowhere/At/All * * * * *", "@every 1h", "http://a/x?fnId=f", "http://[", "http://a:99999",
    "env", "account", "skip", "connect", "py:v0.5.19", "2030-01-01T00:00:00Z", "2030-13-01T00:00:00+99:99",
]  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**53, 2**63, 10**400, -1, 0, 1, 5])
    | st.floats(allow_nan=False)
    | st.sampled_from(TEXTS)
    | st.text(max_size=20)
)
JSON = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=5), inner, max_size=8)
    ),
    max_leaves=40,
)


def judge(body: object) -> None:
    """Reads or refuses; what was read can be written, read back, and sent as an answer."""
    outcome = read(body)
    if isinstance(outcome, RegistrationInvalidError):
        assert outcome.problems
        assert len(str(outcome).splitlines()) == len(outcome.problems) + bool(outcome.problems_left_out)
        dumps([problem.to_json() for problem in outcome.problems])
        return
    for function in outcome.functions:
        assert FunctionConfig.from_json(function.to_json()) == function
    assert all(warning.line for warning in outcome.warnings)


def read(body: object) -> Registration | RegistrationInvalidError:
    try:
        return parse_registration(body)
    except RegistrationInvalidError as error:
        return error


@settings(deadline=None)
@given(JSON)
def test_any_json_is_read_or_refused(body: object) -> None:
    judge(body)


@settings(deadline=None)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=12))
def test_any_object_with_known_names_is_read_or_refused(function: dict[str, object]) -> None:
    judge({"appName": "a", "url": "http://a/x", "functions": [{"id": "f", **function}]})


@settings(max_examples=300, deadline=None)
@given(st.data(), st.sampled_from([PYTHON, TYPESCRIPT, GO]))
def test_a_real_body_with_one_value_replaced_is_read_or_refused(data: st.DataObject, body: object) -> None:
    fresh = parse(dumps(body))
    place = fresh
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            break
        key = data.draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and data.draw(st.booleans()):
            place = place[key]
            continue
        place[key] = data.draw(JSON)
        break
    judge(fresh)
