-- What flow control remembers, jobs, and which runs came of other runs or of batches.

ALTER TABLE runs ADD COLUMN batch_id TEXT;
ALTER TABLE runs ADD COLUMN original_run_id TEXT;
ALTER TABLE runs ADD COLUMN priority_ms INTEGER NOT NULL DEFAULT 0;
-- A mark remembers more than event ids now.
ALTER TABLE marks RENAME COLUMN internal_id TO value;

CREATE TABLE batched_events (
    run_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    PRIMARY KEY (run_id, n)
) STRICT, WITHOUT ROWID;

-- The runs of an event; whether an event is still referred to.
CREATE INDEX batched_events_by_event ON batched_events (event_id, run_id);

CREATE TABLE terms (
    run_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    start_by_ms INTEGER,
    singleton TEXT NOT NULL,
    slots TEXT NOT NULL,
    callers TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE windows (
    window_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    function_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    key_value TEXT NOT NULL,
    opened_at_ms INTEGER NOT NULL,
    due_at_ms INTEGER NOT NULL,
    deadline_ms INTEGER,
    period_ms INTEGER NOT NULL,
    max_size INTEGER NOT NULL,
    size_bytes INTEGER NOT NULL,
    newest_ts_ms INTEGER NOT NULL,
    event_ids TEXT NOT NULL,
    callers TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE meters (
    bucket TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    tat_ns INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE pauses (
    function_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    paused_at_ms INTEGER NOT NULL,
    cancel_at_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE rekeys (
    function_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    limits BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE jobs (
    job_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    function_id TEXT NOT NULL,
    filter BLOB NOT NULL,
    until_ms INTEGER NOT NULL,
    rate_per_s INTEGER NOT NULL,
    cursor TEXT NOT NULL,
    status TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    ended_at_ms INTEGER,
    seen INTEGER NOT NULL,
    affected INTEGER NOT NULL,
    undecided INTEGER NOT NULL,
    errors BLOB NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
