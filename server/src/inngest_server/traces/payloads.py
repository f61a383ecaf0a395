"""Where the inputs and outputs of spans stand."""

from typing import Any, NamedTuple

import orjson

from inngest_server.runs.opcodes.gateway import public_input
from inngest_server.runs.records import JournalKind, JournalRow, RunRow, RunStatus
from inngest_server.runs.run import GATEWAY_OPS

RAW_RESULTS = frozenset({"Step", "WaitForEvent"})
"""Opcodes whose memos are no wrappers: old SDKs wrap results themselves, and an event stands for itself."""
ERROR_PREFIX = b'{"error":'
_DATA = b'{"data":'


class Output(NamedTuple):
    """JSON texts as they came; both are None where there is nothing, and at most one is not."""

    data: bytes | None = None
    error: bytes | None = None


def input_of(entry: JournalRow) -> bytes | None:
    """The input that an entry has, as JSON; None if it has none, or none that was kept.

    It is an array of arguments, or, for what the server requested for a step, an object without the secrets
    that the entry has too.
    """
    meta: dict[str, Any] = orjson.loads(entry.meta)
    if entry.kind == JournalKind.MEMO:
        text = meta.get("input")
        return text.encode() if text is not None else None
    if entry.kind != JournalKind.OPENED or entry.payload is None:
        return None
    return public_input(entry.payload) if meta.get("op") in GATEWAY_OPS else entry.payload


def output_of(entry: JournalRow) -> Output:
    """The result or error that an entry has, without the wrapper in which SDKs get it."""
    payload = entry.payload
    if payload is None or entry.kind == JournalKind.OPENED:
        return Output()
    if entry.kind != JournalKind.MEMO:
        return Output(error=payload)
    op: str = orjson.loads(entry.meta).get("op", "")
    if op not in RAW_RESULTS:
        if payload.startswith(_DATA):
            return Output(data=payload[len(_DATA) : -1])
        if payload.startswith(ERROR_PREFIX):
            return Output(error=payload[len(ERROR_PREFIX) : -1])
    return Output(data=payload)


def output_of_run(row: RunRow) -> Output:
    """As `output_of`, where `output_n` is `RUN_ROW`."""
    if row.status == RunStatus.FAILED:
        return Output(error=row.output)
    return Output(data=row.output)
