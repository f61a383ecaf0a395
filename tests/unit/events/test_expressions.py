"""The dialect of expressions: protocol 5.16, and every sample of the documentation."""

from typing import Any

import pytest

from inngest_server.events.expressions import (
    CompileError,
    EvaluationError,
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


# ---- the rest of the language -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # Literals.
        ("'a\\n\\t\\x41\\u00e9\\U0001F600\\101\\'\\\"'", "a\n\tA\u00e9\U0001f600A'\""),
        ("r'\\d'", "\\d"),
        ("'''a'b\nc'''", "a'b\nc"),
        ('"""a"b"""', 'a"b'),
        ("r'''a\\'''", "a\\"),
        ("''", ""),
        ("'' + '''x'''", "x"),
        ("b'abc'", "YWJj"),
        ("b'\\xff\\101'", "/0E="),
        ("0x1F", 31),
        ("-0x10", -16),
        ("5u", 5),
        ("1e3", 1000.0),
        (".5", 0.5),
        ("-9223372036854775808", -(2**63)),
        ("18446744073709551615u", 2**64 - 1),
        ("null", None),
        ("[1, 'a', true,]", [1, "a", True]),
        ("{'a': 1, 'b': [2]}", {"a": 1, "b": [2]}),
        ("{'a': event.data.missing}", {"a": None}),
        ("[event.data.missing]", [None]),
        ("{1: 'x'}[1.0]", "x"),
        ("{1: 'x'}[true] == null", True),
        ("1 // the first\n + 2", 3),
        # Precedence.
        ("1 + 2 * 3", 7),
        ("(1 + 2) * 3", 9),
        ("10 - 2 - 3", 5),
        ("true || false && false", True),
        ("1 < 2 == true", True),
        ("!true == false", True),
        ("-2 * -3", 6),
        ("- -2", 2),
        ("false ? 1 : true ? 2 : 3", 2),
        ("1 + 1 == 2 ? 'a' + 'b' : 'c'", "ab"),
        ("!(1 == 1)", False),
        # Arithmetic.
        ("5 / 2", 2),
        ("-5 / 2", -2),
        ("-5 % 3", -2),
        ("5 % -3", 2),
        ("event.data.n / 8", 12.5),
        ("event.data.n / 50", 2),
        ("size(event.data.list) / 2", 1),
        ("event.data.n % 7", 2),
        ("event.data.whole % 7", 2),
        ("1 + 1.5", 2.5),
        ("event.data.n * 2", 200),
        ("5.0 / 2", 2.5),
        ("1.0 / 0.0 > 1.0e300", True),
        ("[1] + [2]", [1, 2]),
        ("duration('1h') + duration('30m')", "5400s"),
        ("timestamp('2024-01-01T01:00:00Z') - timestamp('2024-01-01T00:00:00Z')", "3600s"),
        ("timestamp('2024-01-01T01:00:00Z') - duration('1h')", "2024-01-01T00:00:00Z"),
        ("-duration('1.5s')", "-1.5s"),
        # Fields and indexes.
        ("event['data']['nested'].deep['deeper']", "found"),
        ("event.data.object.b.c[1]", 2),
        ("event.data.object[event.data.list[0]]", 1),
        ("event.data.list[event.data.zero]", "a"),
        ("event.data.list[1.0]", "b"),
        ("{'a': {'b': 1}}.a.b", 1),
        ("event.data.items[0].count", 2),
        ("event.data.object.in == null", True),
        # Membership.
        ("'a' in event.data.list", True),
        ("3.0 in event.data.list", True),
        ("1 in event.data.flags", False),
        ("true in event.data.flags", True),
        ("'a' in event.data.object", True),
        ("'z' in event.data.object", False),
        ("null in [1, null]", True),
        ("[1] in [[2], [1.0]]", True),
        # Order.
        ("'a' < 'b'", True),
        ("false < true", True),
        ("'b' >= 'a'", True),
        ("duration('1m') < duration('1h')", True),
        # Deep equality.
        ("event.data.object == {'b': {'c': [1.0, 2]}, 'a': 1}", True),
        ("event.data.object == {'b': {'c': [1.0, 3]}, 'a': 1}", False),
        # Macros.
        ("has(event.data.nothing)", True),
        ("has(event.data.items[0].count)", True),
        ("has(event.data.items[1].count)", False),
        ("event.data.items.exists(i, has(i.count))", True),
        ("event.data.items.all(i, has(i.count))", False),
        ("event.data.numbers.map(n, n * 2)", [10, 24, 80]),
        ("event.data.numbers.map(n, n > 10, n * 2)", [24, 80]),
        ("event.data.numbers.filter(n, n > 10)", [12, 40]),
        ("event.data.numbers.filter(n, event.data.numbers.exists(m, m == n + 7))", [5]),
        ("[1, 2].map(x, [3, 4].map(y, x * y))", [[3, 4], [6, 8]]),
        ("[1].map(x, [x, 2].map(x, x))", [[1, 2]]),
        ("[1, 2].exists_one(x, x > 1)", True),
        ("[2, 2].exists_one(x, x > 1)", False),
        ("[].all(x, false)", True),
        ("event.data.object.exists(key, key == 'b')", True),
        ("[1, 'a'].exists(x, x > 0)", True),
        ("['a', 0].all(x, x > 0)", False),
        ("[timestamp('2024-01-01T00:00:00Z')]", ["2024-01-01T00:00:00Z"]),
        # Functions.
        ("size('h\u00e9llo')", 5),
        ("event.data.list.size()", 3),
        ("size(event.data.object)", 2),
        ("'hello'.endsWith('lo')", True),
        ("'hello'.matches('^h.l')", True),
        ("matches('hello', 'l+')", True),
        ("'a1'.matches(r'\\d')", True),
        ("'hello'.matches('^' + 'h')", True),
        ("lowercase('ABC\u00c9')", "abc\u00e9"),
        ("uppercase(event.data.text)", "ABC"),
        ("'AB\u00c9'.lowerAscii()", "ab\u00c9"),
        ("'ab\u00e9'.upperAscii()", "AB\u00e9"),
        ("b64decode('aGkgdGhlcmUh') + ' - b64 data'", "hi there! - b64 data"),
        ("b64decode('aGk')", "hi"),
        ('json_parse(\'{"a": {"b": [1, 2]}}\').a.b[1]', 2),
        ("json_parse(b64decode('eyJhIjogMX0=')).a", 1),
        ("int('12')", 12),
        ("int(-1.9)", -1),
        ("int(1.9)", 1),
        ("uint(3)", 3),
        ("double('1.5')", 1.5),
        ("double(3)", 3.0),
        ("string(100.0)", "100"),
        ("string(1.5)", "1.5"),
        ("string(1e-5)", "1e-05"),
        ("string(true)", "true"),
        ("string(b'abc')", "abc"),
        ("string(duration('90m'))", "5400s"),
        ("bool('true')", True),
        ("bytes('abc') == b'abc'", True),
        ("type(1) == int && type('a') == string && type(1.5) == double", True),
        ("type(event.data.list) == list && type(event.data.object) == map", True),
        ("type(event.data.missing) == null_type", True),
        ("dyn(1) == 1.0", True),
        # Times.
        ("now()", "2023-11-14T22:13:20Z"),
        ("now_plus('1h')", "2023-11-14T23:13:20Z"),
        ("now_minus('1d')", "2023-11-13T22:13:20Z"),
        ("date(event.ts) < now()", True),
        ("date('2023-11-14') < now() && now() < date('2023-11-15')", True),
        ("date('2020-01-01T12:00:00') + duration('6h35m10s') == date('2020-01-01T18:35:10')", True),
        ("date('2020-01-01 12:00:00+02:00')", "2020-01-01T10:00:00Z"),
        ("date('Tue, 14 Nov 2023 22:13:20 GMT') == now()", True),
        ("date(1700000000) == now()", True),
        ("date(1700000000000) == now()", True),
        ("timestamp(1700000000) == now()", True),
        ("timestamp('2024-01-01T00:00:00.123456789Z')", "2024-01-01T00:00:00.123456789Z"),
        ("timestamp('2024-02-29T00:00:00Z').getFullYear()", 2024),
        ("timestamp('2024-02-29T00:00:00Z').getMonth()", 1),
        ("timestamp('2024-02-29T00:00:00Z').getDate()", 29),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfMonth()", 28),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfWeek()", 4),
        ("timestamp('2024-02-29T00:00:00Z').getDayOfYear()", 59),
        ("timestamp('2024-02-29T13:14:15.678Z').getHours()", 13),
        ("timestamp('2024-02-29T13:14:15.678Z').getMinutes()", 14),
        ("timestamp('2024-02-29T13:14:15.678Z').getSeconds()", 15),
        ("timestamp('2024-02-29T13:14:15.678Z').getMilliseconds()", 678),
        ("timestamp('2024-01-01T00:00:00Z').getHours('America/New_York')", 19),
        ("timestamp('2024-01-01T00:00:00Z').getHours('+05:30')", 5),
        ("duration('1h30m').getMinutes()", 90),
        ("duration('1w2d') == duration('216h')", True),
    ],
)
def test_expression(text: str, expected: Any) -> None:
    assert exactly(evaluate(text)) == exactly(expected)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("1 / 0", "division_by_zero"),
        ("1 % 0", "division_by_zero"),
        ("9223372036854775807 + 1", "out_of_range"),
        ("int(1e30)", "out_of_range"),
        ("int(1.0 / 0.0)", "out_of_range"),
        ("uint(-1)", "out_of_range"),
        ("1.0 / 0.0", "out_of_range"),
        ("timestamp(1e30)", "out_of_range"),
        ("duration('99999999w')", "out_of_range"),
        ("timestamp('9999-12-31T00:00:00Z') + duration('48h')", "out_of_range"),
        ("'a' < 1", "type_mismatch"),
        ("'a' - 1", "type_mismatch"),
        ("event.data.list + 1", "type_mismatch"),
        ("event.data.n.contains('1')", "type_mismatch"),
        ("event.data.list.contains('a')", "type_mismatch"),
        ("size(5)", "type_mismatch"),
        ("'a' in 'abc'", "type_mismatch"),
        ("(5).exists(x, x)", "type_mismatch"),
        ("{[1]: 2}", "type_mismatch"),
        ("{'a': 1, 'a': 2}", "bad_value"),
        ("int('12x')", "bad_value"),
        ("bool('yes')", "bad_value"),
        ("date('tomorrow')", "bad_value"),
        ("date('2024-02-30')", "bad_value"),
        ("duration('5')", "bad_value"),
        ("b64decode('***')", "bad_value"),
        ("json_parse('{')", "bad_value"),
        ("now().getHours('Mars/Base')", "bad_value"),
        ("now().getHours('../../etc/passwd')", "bad_value"),
        ("'a'.matches('(' + 'a')", "bad_pattern"),
        ("1 / 0 == 1 && true", "division_by_zero"),
        ("false || 1 / 0", "division_by_zero"),
        ("[1, 'a'].all(x, x > 0)", "type_mismatch"),
    ],
)
def test_an_expression_that_does_not_fit_says_why(text: str, code: str) -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate(text)
    assert caught.value.code == code
    assert not compile_expression(text).is_true(EVENT)


def test_an_error_names_types_and_never_values() -> None:
    with pytest.raises(EvaluationError) as caught:
        evaluate("event.data.secret < 5", {"data": {"secret": "s3cret"}})
    assert str(caught.value) == "< cannot be used on text and a number"


@pytest.mark.parametrize("text", ["event.data.text", "1", "event.data.yes ? 'x' : 'y'", "[]", "null"])
def test_only_a_boolean_is_a_condition(text: str) -> None:
    expression = compile_expression(text)
    assert expression.is_true(EVENT) is False
    with pytest.raises(EvaluationError, match="must be true or false") as caught:
        expression.check_bool(EVENT)
    assert caught.value.code == "not_boolean"


def test_a_missing_attribute_as_condition_is_false() -> None:
    assert compile_expression("event.data.missing").check_bool(EVENT) is False
    assert compile_expression("event.data.yes").check_bool(EVENT) is True


# ---- compile errors -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "code", "position", "hint"),
    [
        ("", "empty", 0, ""),
        ("  ", "empty", 0, ""),
        ("user_1234 == async.data.userId", "unknown_variable", 0, "'user_1234'"),
        ("evnt.data.x", "unknown_variable", 0, "event"),
        ("data.x == 1", "unknown_variable", 0, "event.data"),
        ("event.data.x = 1", "unexpected_character", 13, "=="),
        ("event.data.x === 1", "unexpected_character", 15, "=="),
        ("event.data.x & true", "unexpected_character", 13, "&&"),
        ("async.data.id == ${id}", "unexpected_character", 17, "filled in"),
        ("async.data.id == \u201cx\u201d", "unexpected_character", 17, "straight quotes"),
        ("async.data.id == 12ab", "bad_number", 19, "quotes"),
        ("async.data.id == 3f2504e0-4f89", "bad_number", 18, "quotes"),
        ("9223372036854775808", "bad_number", 0, ""),
        ("99999999999999999999", "bad_number", 0, "quotes"),
        ("event.data.a and event.data.b", "unexpected_token", 13, "&&"),
        ("not event.data.a", "unknown_variable", 0, "!"),
        ("event.data.a ==", "unexpected_token", 15, ""),
        ("event.data.", "unexpected_token", 11, ""),
        ("(event.data.a", "unexpected_token", 13, ""),
        ("event.data.a)", "unexpected_token", 12, ""),
        ("[1, 2", "unexpected_token", 5, ""),
        ("true ? 1", "unexpected_token", 8, ""),
        ("string(event.data.amount) + '-' event.data.planId", "unexpected_token", 32, ""),
        ("event.data.a 'x'", "unexpected_token", 13, "+"),
        ("'abc", "unterminated_text", 0, "quote"),
        ("'a\nb'", "unterminated_text", 0, "quote"),
        (r"'a\w'", "bad_escape", 2, "twice"),
        (r"event.data.a.matches('\w')", "bad_escape", 22, "twice"),
        (r"'\ud800'", "bad_escape", 1, ""),
        ("event.data.a.starsWith('x')", "unknown_function", 13, "startsWith"),
        ("uppercse('x')", "unknown_function", 0, "uppercase"),
        ("contains('x', 'y')", "unknown_function", 0, "value.contains"),
        ("'x'.uppercase()", "unknown_function", 4, "uppercase(value)"),
        ("lowercase()", "wrong_arguments", 0, ""),
        ("'x'.contains()", "wrong_arguments", 4, ""),
        ("[1].exists(x)", "bad_macro", 11, ".exists(item"),
        ("[1].exists(1, true)", "bad_macro", 11, ""),
        ("[1].all(x, true, false)", "wrong_arguments", 4, ""),
        ("has(event)", "bad_macro", 0, "has(event.data.email)"),
        ("'a'.matches('(')", "bad_pattern", 12, "RE2"),
        ("'a'.matches('(?=a)')", "bad_pattern", 12, "RE2"),
        ("event.data.a == 1; true", "unexpected_character", 17, ""),
        ("Foo{a: 1}", "unknown_variable", 0, ""),
        ("event.data.x is not an integer less than 2", "unexpected_token", 13, "=="),
    ],
)
def test_a_compile_error_points_and_advises(text: str, code: str, position: int, hint: str) -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression(text)
    error = caught.value
    assert (error.code, error.position) == (code, position)
    assert hint in error.hint


def test_the_message_of_a_compile_error_shows_the_place() -> None:
    with pytest.raises(CompileError) as caught:
        compile_expression("event.data.a == 1 &&\n  event.data.b = 2")
    assert str(caught.value) == (
        "'=' has no meaning here at line 2, column 16:\n"
        "    event.data.b = 2\n"
        "                 ^\n"
        "To compare, write == (two equals signs)."
    )


# ---- waits --------------------------------------------------------------------------------------


def test_a_wait_keeps_only_what_the_expression_uses() -> None:
    expression = compile_expression(
        "event.data.text == async.data.id && event.data.missing == null && event.data.list[0] == 'a'"
        " && event.data.text != 'x' && has(event.data.nothing)"
    )
    assert expression.capture(EVENT) == ("abc", None, "a", True)


def test_a_bare_event_or_a_computed_index_captures_the_part_needed() -> None:
    assert compile_expression("event == async").capture(EVENT) == (EVENT,)
    assert compile_expression("event.data.object[async.data.key] == 1").capture(EVENT) == (
        EVENT["data"]["object"],
    )


def test_captured_values_stand_in_for_the_event() -> None:
    expression = compile_expression("event.data.text == async.data.id && event.data.n > 10")
    captured = expression.capture(EVENT)

    assert expression.matches(captured, {"data": {"id": "abc"}}) is True
    assert expression.matches(captured, {"data": {"id": "abd"}}) is False


def test_what_was_missing_is_null_for_a_wait() -> None:
    """Protocol 5.4: unknown paths are interpolated as null, so a missing field equals a missing field."""
    expression = compile_expression("event.data.missing == async.data.missing")
    assert expression.is_true(EVENT, {"data": {}}) is False
    assert expression.matches(expression.capture(EVENT), {"data": {}}) is True
    assert expression.matches(expression.capture(EVENT), {"data": {"missing": 1}}) is False


def test_values_captured_by_another_expression_are_refused() -> None:
    with pytest.raises(ValueError, match="2 captured values for an expression with 1"):
        compile_expression("event.data.a == async.data.a").matches(("x", "y"), {})


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("false", True),
        ("event.data.n > 1000", True),
        ("event.data.n > 1000 && event.data.text == async.data.id", True),
        ("async.data.id == 1 && event.data.n > 1000", True),
        ("event.data.n > 1000 || event.data.no", True),
        ("event.data.no ? async.data.yes : false", True),
        ("1 / 0 == 1 && async.data.yes", True),
        ("event.data.text", True),
        ("true", False),
        ("event.data.n > 10", False),
        ("event.data.n > 10 && event.data.text == async.data.id", False),
        ("event.data.no || async.data.yes", False),
        ("event.data.yes ? async.data.yes : false", False),
        ("async.data.yes ? false : true", False),
        ("now() > date('2999-01-01')", False),
        ("!event.data.yes || async.data.yes == true", False),
    ],
)
def test_an_expression_that_can_never_match_is_known(text: str, expected: bool) -> None:
    expression = compile_expression(text)
    assert expression.is_constant_false(expression.capture(EVENT)) is expected


@pytest.mark.parametrize(
    ("text", "problems"),
    [
        ("event.data.id == async.data.id && (async.data.n > 1 || !async.data.b)", []),
        ("async.data['a'][0] in ['x', 'y'] && int(async.status) == -200", []),
        ("uint(async.a) < double(async.b)", []),
        ("async.data.a ? true : false", []),
        ("has(async.data.a)", ["macros are not allowed here: has()"]),
        (
            "async.data.a.exists(x, x + 1 == 2) && size(async.data.a) > 0 && size(async.b) > 1",
            [
                "macros are not allowed here: exists()",
                "arithmetic is not allowed here: +",
                "functions are not allowed here: size()",
            ],
        ),
        (
            "date(async.a) > now()",
            ["functions are not allowed here: date()", "functions are not allowed here: now()"],
        ),
        ("async.name.endsWith('foo')", ["functions are not allowed here: endsWith()"]),
        ("-async.data.a == 1", ["arithmetic is not allowed here: -"]),
    ],
)
def test_the_restricted_policy_lists_what_it_does_not_allow(text: str, problems: list[str]) -> None:
    assert compile_expression(text).restricted_problems() == problems


def test_an_expression_knows_whether_it_uses_the_incoming_event() -> None:
    assert compile_expression("event.data.a == async.data.a").uses_async
    assert not compile_expression("event.data.a == 1").uses_async


def test_the_same_text_gives_the_same_expression() -> None:
    assert compile_expression("event.data.cached == 1") is compile_expression("event.data.cached == 1")


def test_texts_that_differ_in_literals_share_their_shape() -> None:
    shapes = {id(compile_expression(f"async.data.id == 'user_{number}'").shape) for number in range(50)}
    assert len(shapes) == 1
    assert compile_expression("async.data.id == 'user_7'").matches((), {"data": {"id": "user_7"}})
    assert not compile_expression("async.data.id == 'user_7'").matches((), {"data": {"id": "user_8"}})
