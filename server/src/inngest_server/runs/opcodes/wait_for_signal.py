"""WaitForSignal."""

from inngest_server.runs.errors import SignalConflict
from inngest_server.runs.facts import Op
from inngest_server.runs.opcodes.wait_for_event import deadline_ms
from inngest_server.runs.records import WaitKind
from inngest_server.runs.turn import Turn, require

YEAR_MS = 365 * 24 * 3_600_000


def wait_for_signal(turn: Turn, op: Op) -> None:
    """Wait for a named signal, of which one open wait exists at most. Source: protocol 5.5.

    With `conflict: replace` the older wait stays, but only its timeout can end it.
    """
    signal = require(op.opts.get("signal") or op.name, op, "opts.signal")
    fires_at_ms = deadline_ms(turn, op, op.opts.get("timeout"), default_ms=YEAR_MS)
    wait_id = f"{turn.run.id}.{op.step_id}"
    holder = turn.moment.signal_holder(signal)
    # A wait that another run replaced is reported again by its own run: that is no conflict.
    if holder not in (None, wait_id) and op.opts.get("conflict") != "replace" and turn.is_new(op):
        raise SignalConflict
    if turn.open(op, {"until": fires_at_ms, "signal": signal}):
        turn.wait(op, WaitKind.SIGNAL, fires_at_ms, name=signal)
