"""A trace as text, for terminals and for tests that failed: one line per span."""

from collections.abc import Iterator

from inngest_server.traces.span import Span, SpanKind

COLUMNS_MAX = 110
NAME_COLUMNS = 28


def timeline(root: Span) -> str:
    """The spans of a run, indented; moments count from when the run was made.

    Each line has the name, the status, when the span was queued, how long it lasted so far, and what that
    time was spent on.
    """
    return "\n".join(_lines(root, root.queued_ms, 0))


def _lines(span: Span, zero_ms: int, depth: int) -> Iterator[str]:
    name = _shortened("  " * depth + _printable(span.name), NAME_COLUMNS)
    start, lasted = _seconds(span.queued_ms - zero_ms), _seconds(span.duration_ms)
    line = f"{name:<{NAME_COLUMNS}} {span.status:<9} {start:>9} {lasted:>9}  {_facts(span, zero_ms)}"
    yield _shortened(line.rstrip(), COLUMNS_MAX)
    for child in span.children:
        yield from _lines(child, zero_ms, depth + 1)


def _facts(span: Span, zero_ms: int) -> str:
    facts: list[str] = []
    if span.kind not in (SpanKind.RUN, SpanKind.STEP, SpanKind.BODY, SpanKind.ATTEMPT):
        facts.append(span.kind.replace("_", " "))
    if span.reuse is not None:
        facts.append(span.reuse)
    if span.children and span.kind is not SpanKind.RUN:
        facts.append(f"{len(span.children)} tries")
    if span.error_code:
        facts.append(_printable(span.error_code))
    if span.reason:
        facts.append(_printable(span.reason))
    if span.until_ms is not None:
        facts.append(f"until {_seconds(span.until_ms - zero_ms)}")
    spent = {segment.phase: span.time_in(segment.phase) for segment in span.segments}
    facts += [f"{phase} {_seconds(ms)}" for phase, ms in spent.items()] if len(spent) > 1 else spent
    return ", ".join(facts)


def _seconds(ms: int) -> str:
    """`1.234s`; exact, for durations of years too."""
    sign, ms = ("-", -ms) if ms < 0 else ("", ms)
    return f"{sign}{ms // 1000}.{ms % 1000:03d}s"


def _printable(text: str) -> str:
    """Names are the users' own: they may not break the line or move the cursor."""
    return "".join(char if char.isprintable() else "?" for char in text)


def _shortened(text: str, columns: int) -> str:
    return text if len(text) <= columns else text[: columns - 1] + "~"
