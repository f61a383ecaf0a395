"""What is thrown at the server: JSON of every kind, and real bodies with a part of them replaced."""

from typing import Any

from hypothesis import strategies as st

from inngest_server.wire.json import dumps, parse

TEXTS = [
    "", " ", "a", "a/b", "*", "inngest/function.failed", "\x00", "\u2028", "ä", "\U0001f600", "x" * 5_000,
    "1s", "-1h", "99999w", "2030-01-01T00:00:00Z", "2030-13-01T00:00:00+99:99", "0 9 * * *", "@every 1h",
    "event.data.id == async.data.id", "((", "[1].all(x, [1].all(y, x == y))", "01M7XS225GTVAP6MVYRSN6WH8H",
    "http://a/x?fnId=f", "http://[", "../../etc/passwd", "%00", "'; DROP TABLE runs; --", "StepRun", "Sleep",
]  # fmt: skip

SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**31, 2**53, 2**63, -(2**63) - 1, 10**400, -1, 0, 1])
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.sampled_from(TEXTS)
    | st.text(max_size=20)
)


def json_values(names: list[str]) -> st.SearchStrategy[Any]:
    """Any JSON; objects have mostly keys that mean something."""
    keys = st.sampled_from(names) | st.text(max_size=5)
    return st.recursive(
        SCALARS,
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(keys, inner, max_size=6),
        max_leaves=30,
    )


@st.composite
def mutated(draw: st.DrawFn, body: Any, values: st.SearchStrategy[Any]) -> Any:
    """The body with one of its values, at any depth, replaced."""
    fresh = parse(dumps(body))
    place = fresh
    while True:
        keys = list(place) if isinstance(place, dict) else list(range(len(place)))
        if not keys:
            return fresh
        key = draw(st.sampled_from(keys))
        if isinstance(place[key], dict | list) and draw(st.booleans()):
            place = place[key]
            continue
        place[key] = draw(values)
        return fresh


@st.composite
def broken(draw: st.DrawFn, body: bytes) -> bytes:
    """The bytes with a few cut out, replaced or repeated."""
    mangled = bytearray(body)
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(mangled)))
        mangled[at : at + draw(st.integers(0, 20))] = draw(
            st.binary(max_size=8) | st.sampled_from([b"", b"\x00", b"\xff", b"{", b'"', b"\\ud800", b"1e999"])
        )
    return bytes(mangled)
