-- Lists by status, function and moment, and their counts, read indexes alone (`lists.py`). What this costs a run
-- is measured by `benchmarks/lists.py`: some three microseconds of the writer, and 160 bytes.

DROP INDEX runs_by_function;
DROP INDEX runs_ended;

-- The runs of a status and function by id. The status stands first: what changes often, the few runs that have
-- not ended, lies together.
CREATE INDEX runs_by_status ON runs (status, function_id, run_id);
-- Lists by moment. What they filter by is in the index too, behind the id, so that a run whose status changes
-- stays in its place.
CREATE INDEX runs_by_start ON runs (started_at_ms, run_id, status, function_id)
    WHERE started_at_ms IS NOT NULL;
-- The same, and pruning.
CREATE INDEX runs_by_end ON runs (ended_at_ms, run_id, status, function_id)
    WHERE ended_at_ms IS NOT NULL;
