"""From pieces that overlap to segments that do not."""

from collections.abc import Iterable

from inngest_server.traces.history import Piece
from inngest_server.traces.span import Phase, Segment

_PHASES = tuple(Phase)
_RANK = {phase: rank for rank, phase in enumerate(_PHASES)}
_IDLE = _RANK[Phase.IDLE]


def partition(pieces: Iterable[Piece], start_ms: int, end_ms: int) -> tuple[Segment, ...]:
    """Segments from a moment to another one, without gap or overlap; neighbours differ in their phase.

    Of several pieces at a time the one whose phase comes first in `Phase` counts; where there is none, the
    span is idle.
    """
    edges: list[tuple[int, int, int]] = []
    for phase, piece_start_ms, piece_end_ms in pieces:
        first_ms, last_ms = max(piece_start_ms, start_ms), min(piece_end_ms, end_ms)
        if first_ms < last_ms:
            edges.append((first_ms, _RANK[phase], 1))
            edges.append((last_ms, _RANK[phase], -1))
    edges.sort()
    active = [0] * len(_PHASES)
    segments: list[Segment] = []
    cursor_ms = start_ms
    for at_ms, rank, change in (*edges, (end_ms, _IDLE, 0)):
        if at_ms > cursor_ms:
            now = next((one for one, count in enumerate(active) if count), _IDLE)
            if segments and segments[-1].phase is _PHASES[now]:
                segments[-1] = segments[-1]._replace(end_ms=at_ms)
            else:
                segments.append(Segment(_PHASES[now], cursor_ms, at_ms))
            cursor_ms = at_ms
        active[rank] += change
    return tuple(segments)
