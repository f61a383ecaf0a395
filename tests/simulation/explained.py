"""Whether the server can say of every unfinished run why it is where it is."""

from inngest_server.engine.engine import Engine
from inngest_server.engine.explaining import event_view, snapshot_of_run
from inngest_server.events.records import EventRow
from inngest_server.explain.gate import Verdict
from inngest_server.explain.run import explain_run
from inngest_server.runs.records import ItemState
from inngest_server.storage.memory import MemoryStorage

from .auditor import Auditor

RUNS_MAX = 10
"""That are explained at one moment; they are those that wait for longest."""


def check_explained(engine: Engine, auditor: Auditor, rows: MemoryStorage) -> None:
    """Explain unfinished runs while nothing is to be decided: something that is known holds back each."""
    unfinished = [run for run in auditor.runs.values() if not run.ended]
    for run in unfinished[:RUNS_MAX]:
        run_id = run.row.run_id
        stored = rows._rows[EventRow].get(run.row.event_id)
        if run_id in auditor.damaged or not isinstance(stored, EventRow):
            continue
        entries = rows._journals.get(run_id, {})
        journal = [entries[n] for n in sorted(entries)]
        size = 1 + len(run.further) if run.row.batch_id is not None else 0
        shot = snapshot_of_run(engine, run.row, event_view(stored, stored.body), journal, size)
        try:
            explanation = explain_run(shot)
            explanation.to_json()
        except Exception as error:
            auditor.note(f"run {run_id} cannot be explained: {type(error).__name__}: {error}")
            return
        auditor.seen["explain: unfinished run"] += 1
        unknown = [gate for gate in explanation.gates if gate.verdict is Verdict.UNKNOWN]
        if unknown:
            auditor.note(f"run {run_id} is explained by {unknown}")
        states = {auditor.items[item_id].state for item_id in run.items}
        if states == {ItemState.PARKED} and explanation.blocking is None:
            auditor.note(f"run {run_id} waits for slots, and nothing is said to hold it back")
