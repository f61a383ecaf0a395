"""The dialect of expressions: protocol 5.16, and every sample of the documentation."""

from typing import Any

import pytest

from inngest_server.events.expressions import (
    CompileError,
    compile_expression,
    compile_search,
)

NOW_MS = 1_700_000_000_000  # 2023-11-14T22:13:20Z

EVENT: dict[str, Any] = {
    "id": "01JEVENT",
    "name": "shop/order.created",
    "ts": 1_699_999_000_000,
    "user": {"email": "ann@example.com"},
    "data": {
        "text": "abc",
        "empty": "",
        "zero": 0,
        "n": 100,
        "half": 0.5,
        "whole": 100.0,
        "big": 2**53 + 1,
        "yes": True,
        "no": False,
        "nothing": None,
        "list": ["a", "b", 3],
        "numbers": [5, 12, 40],
        "object": {"a": 1, "b": {"c": [1, 2]}},
        "flags": [True, False],
        "items": [{"sku": "x", "count": 2}, {"sku": "y"}],
        "nested": {"deep": {"deeper": "found"}},
    },
}


def evaluate(text: str, event: dict[str, Any] | None = None, other: Any = None) -> Any:
    return compile_expression(text).evaluate(EVENT if event is None else event, other, NOW_MS)


def exactly(value: Any) -> tuple[type[Any], Any]:
    """Python finds 1, 1.0 and True equal; a test must not."""
    return (type(value), value)


# ---- the loose table, row by row ----------------------------------------------------------------

MISSING = "event.data.missing"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Missing attribute, at any depth.
        (f"{MISSING}", False),
        (f"{MISSING}.a.b.c == 'x'", False),
        ("event.data.text.a.b == null", True),
        ("event.data.list.a == null", True),
        ("event.data.nothing.a == null", True),
        ("event.data.list[99] == null", True),
        ("event.data.list['a'] == null", True),
        ("event.data['missing']['x'] == null", True),
        ("event.nope == null", True),
        ("vars.anything == null", True),
        ("async.data.id == null", True),
        # unknown == null / == x
        (f"{MISSING} == null", True),
        (f"null == {MISSING}", True),
        (f"{MISSING} == 'x'", False),
        (f"{MISSING} == 0", False),
        (f"{MISSING} == ''", False),
        (f"{MISSING} == false", False),
        (f"{MISSING} == {MISSING}", False),
        # unknown != null / != x
        (f"{MISSING} != null", False),
        (f"{MISSING} != 'x'", True),
        (f"{MISSING} != 0", True),
        (f"{MISSING} != ''", True),
        # unknown <, <= x; x < unknown
        (f"{MISSING} < 5", True),
        (f"{MISSING} <= 5", True),
        (f"{MISSING} < -5", True),
        (f"{MISSING} < 'a'", True),
        (f"5 < {MISSING}", False),
        (f"5 <= {MISSING}", False),
        # unknown >, >= x; x > unknown
        (f"{MISSING} > 5", False),
        (f"{MISSING} >= 5", False),
        (f"5 > {MISSING}", True),
        (f"5 >= {MISSING}", True),
        (f"-5 > {MISSING}", True),
        # unknown + x
        (f"{MISSING} + 'x'", "x"),
        (f"'x' + {MISSING}", "x"),
        (f"{MISSING} + 5", 5),
        (f"5 + {MISSING}", 5),
        (f"{MISSING} + {MISSING}", False),
        # size(unknown); other functions
        (f"size({MISSING})", 0),
        (f"{MISSING}.size()", 0),
        (f"size({MISSING}) > 0", False),
        (f"{MISSING}.contains('x')", False),
        (f"'x'.contains({MISSING})", False),
        (f"{MISSING}.startsWith('x')", False),
        (f"{MISSING}.matches('x')", False),
        (f"uppercase({MISSING})", False),
        (f"int({MISSING})", False),
        (f"string({MISSING})", False),
        (f"date({MISSING})", False),
        (f"json_parse({MISSING})", False),
        (f"{MISSING} in ['a', 'b']", False),
        (f"{MISSING} in [null]", False),
        (f"'a' in {MISSING}", False),
        (f"{MISSING} - 1", False),
        (f"{MISSING} * 2", False),
        (f"-{MISSING}", False),
        (f"has({MISSING})", False),
        (f"{MISSING}.exists(x, x == 1)", False),
        (f"{MISSING}.all(x, x == 1)", False),
        (f"{MISSING}.exists_one(x, x == 1)", False),
        (f"size({MISSING}.filter(x, x == 1))", 0),
        (f"{MISSING}.map(x, x) == null", True),
        # null == value / !=; for ordering the zero of the other type
        ("event.data.nothing == 'x'", False),
        ("event.data.nothing != 'x'", True),
        ("null == 0", False),
        ("null == null", True),
        ("null != null", False),
        ("null < 5", True),
        ("5 < null", False),
        ("null > 0", False),
        ("null > 1", False),
        ("null > -5", True),
        ("5 > null", True),
        ("null <= 0", True),
        ("null >= 1", False),
        ("null < 0.5", True),
        ("null < 'foo'", True),
        ("'foo' < null", False),
        ("null <= ''", True),
        ("null <= null", True),
        ("null < null", False),
        ("null < timestamp('2024-01-01T00:00:00Z')", True),
        # string + number
        ("'A' + 1", "A1"),
        ("1 + 'A'", "1A"),
        ("'A' + 1.5", "A1.5"),
        ("'A' + event.data.whole", "A100"),
        ("'A' + 1e21", "A1e+21"),
        ("'A' + true", "Atrue"),
        # mismatched types
        ("event.data.text == 5", False),
        ("5 == event.data.text", False),
        ("event.data.yes == 1", False),
        ("1 == event.data.yes", False),
        ("event.data.no == 0", False),
        ("'1' == 1", False),
        ("event.data.list == 'a'", False),
        ("event.data.object == event.data.list", False),
        ("[1] == [true]", False),
        ("event.data.text != 5", True),
        # numbers
        ("event.data.n == 100.0", True),
        ("event.data.whole == 100", True),
        ("event.data.n > 99.5", True),
        ("event.data.big == 9007199254740993", True),
        ("event.data.big == 9007199254740992.0", False),
        ("[1, 2.0] == [1.0, 2]", True),
        # && || ?: : truthiness, and the operand itself
        (f"{MISSING} || 'x'", "x"),
        (f"'x' || {MISSING}", "x"),
        (f"{MISSING} || {MISSING}", False),
        ("null || 'x'", "x"),
        ("false || 'x'", "x"),
        ("'' || 'x'", "x"),
        ("0 || 'x'", "x"),
        ("0.0 || 'x'", "x"),
        ("1 / 0 || 'x'", "x"),
        ("1 / 0 == 1 || 'x'", "x"),
        ("'str' || true", "str"),
        ("3.14 || false", 3.14),
        ("false || ''", ""),
        ("event.data.list || false", ["a", "b", 3]),
        ("[] || false", []),
        (f"{MISSING} && 'x'", False),
        ("null && 'x'", None),
        ("'' && 'x'", ""),
        ("0 && 'x'", 0),
        ("false && 'x'", False),
        ("'a' && 'b'", "b"),
        ("'a' && ''", ""),
        ("'a' && 'b' && 'c'", "c"),
        ("'a' && 0 && 'c'", 0),
        ("true && true", True),
        (f"{MISSING} ? 1 : 2", 2),
        ("null ? 1 : 2", 2),
        ("'' ? 1 : 2", 2),
        ("0 ? 1 : 2", 2),
        ("1 / 0 == 1 ? 1 : 2", 2),
        ("'x' ? 1 : 2", 1),
        ("true ? 'a' : 1 / 0", "a"),
        (f"!{MISSING}", True),
        ("!'x'", False),
        ("!!event.data.n", True),
    ],
)
def test_loose_table(text: str, expected: Any) -> None:
    assert exactly(evaluate(text)) == exactly(expected)


# ---- documented samples -------------------------------------------------------------------------

ORDER = {
    "type": "signup",
    "user": {"email": "a@b.c"},
    "data": {
        "account_id": "acc",
        "account_type": "free",
        "action": "published",
        "amount": 1500,
        "amounts": [11, 20],
        "billingPlan": "enterprise",
        "cartId": "cart_1",
        "created": "2024-06-01T00:00:00Z",
        "createdAt": "2024-06-01T00:00:00Z",
        "customer_id": "c1",
        "email": "ann@gmail.com",
        "expireAt": "2024-06-01T00:04:00Z",
        "function_id": "newsletter-app-import-all-contacts",
        "height": 180,
        "hello": "world",
        "id": "1234",
        "import_id": 7,
        "items": ["shirt_1234", "hat_1"],
        "organizationId": "org",
        "plan": "enterprise",
        "planId": "p1",
        "priority": 4,
        "promptHash": "h",
        "requestNumber": 3,
        "userId": "user_o9235hf84hf",
        "user_id": "u1",
    },
}
INCOMING = {
    "name": "in",
    "data": {
        "billing_plan": "pro",
        "completionId": "42",
        "email_id": 42,
        "height": 180,
        "id": "1234",
        "userId": "user_o9235hf84hf",
        "user_id": "u1",
    },
}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("event.data.billingPlan == 'enterprise'", True),
        ("event.data.amount > 1000", True),
        ("event.data.billingPlan == 'enterprise' && event.data.amount > 1000", True),
        ("event.data.billingPlan != 'pro' || event.data.amount < 300", True),
        ("event.data.userId == async.data.userId", True),
        ("async.data.userId == event.data.userId", True),
        ("event.data.userId == async.data.userId && async.data.billing_plan == 'pro'", True),
        ("event.data.user_id == async.data.user_id", True),
        ("event.data.height == async.data.height", True),
        ("event.data.id == async.data.id", True),
        ("async.data.importId == event.data.importId", False),
        ("async.data.reminderId == event.data.reminderId", False),
        ("async.data.email_id == 42", True),
        ('async.data.completionId == "42"', True),
        ("event.data.email.contains('gmail.com')", True),
        ("has(event.data.email)", True),
        ("timestamp(event.data.created) > timestamp('2024-01-01T00:00:00Z')", True),
        ("timestamp(event.data.createdAt) + duration('5m') > timestamp(event.data.expireAt)", True),
        ("event.data.id", "1234"),
        ("event.data.customer_id", "c1"),
        ("event.data.cartId", "cart_1"),
        ('event.data.userId + "-" + event.type', "user_o9235hf84hf-signup"),
        ('event.data.userId + "-" + event.data.type', "user_o9235hf84hf-"),
        ('event.data.userId + "-" + event.data.organizationId', "user_o9235hf84hf-org"),
        ('event.data.promptHash + "-" + event.data.userId', "h-user_o9235hf84hf"),
        ('event.data.user_id + "-" + event.data.import_id', "u1-7"),
        ('event.data.account_id + "-" + event.user.email', "acc-a@b.c"),
        ('string(event.data.amount) + "-" + event.data.planId', "1500-p1"),
        ('"global-quoted-key"', "global-quoted-key"),
        ("'\"openai\"'", '"openai"'),
        ("event.data.billingPlan == 'enterprise' ? 0 : 1800", 0),
        ("event.data.billingPlan == 'enterprise' && event.data.requestNumber < 10 ? 0 : 1800", 0),
        ("event.data.billingPlan == 'pro' && event.data.requestNumber < 10 ? 0 : 1800", 1800),
        ("has(event.data.priority) ? event.data.priority : 0", 4),
        ("event.data.account_type == 'enterprise' ? 120 : 0", 0),
        ("event.data.plan == 'enterprise' ? 180 : 0", 180),
        ("event.data.priority", 4),
        ("string(event.data.count)", False),
        ("int(event.data.amount)", 1500),
        ("event.data.items[0]", "shirt_1234"),
        ("event.data.items.exists(e, e == 'shirt_1234')", True),
        ("event.data.items.exists_one(e, e.startsWith('shirt_'))", True),
        ("event.data.amounts.all(n, n > 10)", True),
        ("int(timestamp(event.data.createdAt))", 1717200000),
        ("timestamp(event.data.createdAt) + duration('5m')", "2024-06-01T00:05:00Z"),
        ('event.data.account_type == "free"', True),
        ("event.data.userId == 'user_o9235hf84hf'", True),
        ("event.data.function_id == 'newsletter-app-import-all-contacts'", True),
        ('event.data.action == "published"', True),
        ("event.data.priority >= 4", True),
        ("event.ts < 1700000000000", True),
        ('event.data.hello == "world"', True),
        ('event.name != "billing"', True),
    ],
)
def test_documented_sample(text: str, expected: Any) -> None:
    assert exactly(compile_expression(text).evaluate(ORDER, INCOMING)) == exactly(expected)


OUTPUT = {"name": "NonRetriableError", "message": "Failed to import data", "success": False}


@pytest.mark.parametrize(
    "text",
    [
        'output.name == "NonRetriableError" && output.message == "Failed to import data"',
        "output.success != true",
        'event.data.hello == "world"\noutput.success != true',
        'event.data.hello == "world"\n\n  event.name != "billing"\n',
        "(\nevent.data.amount > 1\n&& output.success != true\n)",
        "event.data.amount\n> 1 &&\noutput.success\n!= true",
    ],
)
def test_a_search_sees_the_output_and_joins_lines_with_and(text: str) -> None:
    assert compile_search(text).check_bool(ORDER, OUTPUT) is True


def test_in_a_search_every_line_counts() -> None:
    assert compile_search("output.success != true\nevent.data.amount > 9999").is_true(ORDER, OUTPUT) is False
    with pytest.raises(CompileError, match="no variable 'output'"):
        compile_expression("output.name == 'x'")
