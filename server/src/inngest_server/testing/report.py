"""What is shown of a world when its test failed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from inngest_server.testing.run import RunView

RUNS_SHOWN = 20
LINES_SHOWN = 20
COMPLAINTS = ("warning", "error", "critical", "exception")


def report_of(runs: Sequence[RunView], now: datetime, log: Sequence[dict[str, Any]]) -> str:
    """The last runs, each with its timeline and error, and what the server complained about."""
    parts = [f"{len(runs)} run{'' if len(runs) == 1 else 's'}; the world's time is {now.isoformat()}"]
    if len(runs) > RUNS_SHOWN:
        parts[0] += f"; the last {RUNS_SHOWN} are"
    for run in runs[-RUNS_SHOWN:]:
        parts += ["", f"{run.function}, run {run.id}, on {run.event['name']}", _indented(run.timeline)]
        if run.error is not None:
            parts.append(_indented(f"{run.error.name}: {run.error.message}"))
            parts.append(_indented(run.error.stack.rstrip()))
        elif not run.has_ended:
            parts.append(_indented(run.explanation))
    complaints = [line for line in log if line["level"] in COMPLAINTS]
    if complaints:
        parts += ["", "The server says"]
        parts += [_indented(_line(line)) for line in complaints[-LINES_SHOWN:]]
    return "\n".join(part for part in parts if part.strip() or not part)


def _indented(text: str) -> str:
    return "\n".join(f"  {line}" for line in text.splitlines())


def _line(line: dict[str, Any]) -> str:
    fields = ", ".join(f"{key}={value}" for key, value in line.items() if key not in ("level", "event"))
    return f"{line['level']}: {line['event']} {fields}"
