"""Register bodies: two recorded from official SDKs, one after the protocol, and builders for the rest."""

import json

from inngest_server.apps.config import FunctionConfig
from inngest_server.apps.problems import Findings

PYTHON = json.loads("""
{"appname":"shop","appVersion":"7","capabilities":{"connect":"v1","in_band_sync":"v1","trust_probe":"v1"},
 "deploy_type":"ping","framework":"fast_api","functions":[
  {"cancel":[{"event":"x/y","if":"event.data.id == async.data.id","timeout":"1h"}],
   "concurrency":[{"key":"event.data.user_id","limit":5,"scope":"fn"}],"debounce":{"period":"5m"},
   "id":"shop-order","idempotency":"event.data.id","name":"order","priority":{"run":"1"},
   "rateLimit":{"limit":1,"period":"4h"},
   "steps":{"step":{"id":"step","name":"step","retries":{"attempts":3},"runtime":{"type":"http",
    "url":"http://127.0.0.1:9912/api/inngest?fnId=shop-order&stepId=step"}}},
   "throttle":{"limit":10,"period":"1m","burst":1},"timeouts":{"start":"10m"},"singleton":{"mode":"skip"},
   "triggers":[{"event":"shop/order.created","expression":"event.data.total > 100"},
    {"cron":"TZ=Europe/Paris 0 9 * * 1-5"}]},
  {"batchEvents":{"maxSize":10,"timeout":"5s"},"id":"shop-batch","name":"batch",
   "steps":{"step":{"id":"step","name":"step","runtime":{"type":"http",
    "url":"http://127.0.0.1:9912/api/inngest?fnId=shop-batch&stepId=step"}}},"triggers":[{"event":"a/b"}]},
  {"cancel":[],"concurrency":[],"id":"shop-batch-failure","name":"batch (failure)",
   "steps":{"step":{"id":"step","name":"step","retries":{"attempts":0},"runtime":{"type":"http",
    "url":"http://127.0.0.1:9912/api/inngest?fnId=shop-batch-failure&stepId=step"}}},
   "triggers":[{"event":"inngest/function.failed","expression":"event.data.function_id == 'shop-batch'"}]}],
 "sdk":"py:v0.5.19","url":"http://127.0.0.1:9912/api/inngest","v":"0.1"}
""")
"""Recorded from Python 0.5.19: `appname`, `deploy_type`, nulls stripped."""

TYPESCRIPT = json.loads("""
{"url":"http://127.0.0.1:9922/api/inngest","deployType":"ping","framework":"nodejs","appName":"shop","functions":[
  {"id":"shop-order","name":"Order","triggers":[
    {"event":"shop/order.created","expression":"event.data.total > 100"},
    {"cron":"TZ=Europe/Paris 0 9 * * 1-5","jitter":"30s"}],
   "steps":{"step":{"id":"step","name":"step","runtime":{"type":"http",
    "url":"http://127.0.0.1:9922/api/inngest?fnId=shop-order&stepId=step"},"retries":{"attempts":3}}},
   "idempotency":"event.data.id","throttle":{"limit":10,"period":"1m"},"concurrency":5,
   "debounce":{"period":"5m"},"priority":{"run":"1"},"timeouts":{"start":"10m"},
   "singleton":{"mode":"cancel","key":"event.data.id"},
   "cancel":[{"event":"x/y","timeout":"1h","if":"event.data.id == async.data.id"}]},
  {"id":"shop-order-failure","name":"Order (failure)","triggers":[
    {"event":"inngest/function.failed","expression":"event.data.function_id == 'shop-order'"}],
   "steps":{"step":{"id":"step","name":"step","runtime":{"type":"http",
    "url":"http://127.0.0.1:9922/api/inngest?fnId=shop-order-failure&stepId=step"},"retries":{"attempts":1}}}},
  {"id":"shop-batch","name":"batch","triggers":[{"event":"a/b"}],
   "steps":{"step":{"id":"step","name":"step","runtime":{"type":"http",
    "url":"http://127.0.0.1:9922/api/inngest?fnId=shop-batch&stepId=step"}}},
   "batchEvents":{"maxSize":10,"timeout":"5s","if":"event.data.x == 1"},
   "concurrency":[{"limit":1,"key":"event.data.k","scope":"account"}]},
  {"id":"shop-noop","name":"noop","triggers":[],"steps":{"step":{"id":"step","name":"step","runtime":
    {"type":"http","url":"http://127.0.0.1:9922/api/inngest?fnId=shop-noop&stepId=step"}}}}],
 "sdk":"js:v4.24.0","v":"0.1","capabilities":{"trust_probe":"v1","connect":"v1"},"appVersion":"7",
 "featureObservations":{"sendEvents":{"readinessReason":"SEND_EVENTS_READINESS_REASON_READY"}}}
""")
"""Recorded from TypeScript 4.24.0."""

GO = json.loads("""
{"v":"1","url":"http://localhost:8080/api/inngest?deployId=d1","deployType":"ping","sdk":"go:v0.14.1",
 "framework":"","headers":{"env":"","platform":""},"appName":"shop","capabilities":{},"functions":[
  {"name":"Order","id":"shop-order","priority":null,"concurrency":[{"limit":5,"key":"","scope":"fn","hash":""}],
   "debounce":{"key":"","period":"1m0s"},"triggers":[{"event":"shop/order.created","expression":null}],
   "timeouts":{"start":"1h0m0s"},"batchEvents":null,"rateLimit":null,
   "throttle":{"key":null,"limit":10,"period":"1h0m0s"},
   "steps":{"step":{"id":"step","name":"Order","retries":{"attempts":3},"runtime":{"type":"http",
    "url":"http://localhost:8080/api/inngest?fnId=shop-order&step=step"}}}}]}
""")
"""What protocol 2.3 says of Go: empty texts, nulls, `hash`, durations with zero units."""


def make_function(**options: object) -> dict[str, object]:
    """A valid function with one event trigger, overridden by what the test is about."""
    return {
        "id": "shop-order",
        "name": "Order",
        "triggers": [{"event": "shop/order.created"}],
        "steps": {
            "step": {
                "id": "step",
                "name": "step",
                "runtime": {"type": "http", "url": "http://app:80/x?fnId=f"},
            }
        },
        **options,
    }


def make_body(*functions: object, **fields: object) -> dict[str, object]:
    """A valid sync of these functions."""
    return {
        "appName": "shop",
        "url": "http://app/x",
        "framework": "flask",
        "sdk": "py:v0.5.19",
        "functions": list(functions),
        **fields,
    }


def read(**options: object) -> FunctionConfig:
    """The configuration of a valid function with these options."""
    return FunctionConfig.from_json(make_function(**options))


def problems(**options: object) -> list[tuple[str, str]]:
    """Field and code of everything that is wrong with these options."""
    findings = Findings()
    FunctionConfig.read(make_function(**options), findings)
    assert {problem.function_id for problem in findings.problems} <= {"shop-order"}
    return [(problem.field, problem.code) for problem in findings.problems]


def warnings(**options: object) -> list[tuple[str, str]]:
    """Field and code of everything that was accepted with a warning."""
    findings = Findings()
    FunctionConfig.read(make_function(**options), findings)
    assert findings.problems == []
    return [(warning.field, warning.code) for warning in findings.warnings]
