-- Every row carries its shard. `crc` is the CRC-32 of the row's payload columns, checked when it is read.
-- Tables are kept in the order of their key (WITHOUT ROWID): what is read together lies together.
-- An index is paid for by every commit, so each names the question that it answers.

CREATE TABLE meta (
    shard_count INTEGER NOT NULL,
    domain_time_ms INTEGER NOT NULL
) STRICT;

CREATE TABLE shards (
    shard INTEGER PRIMARY KEY,
    epoch INTEGER NOT NULL
) STRICT;

CREATE TABLE runs (
    run_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    function_id TEXT NOT NULL,
    function_version INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    event_name TEXT NOT NULL,
    cron TEXT,
    parent TEXT,
    status TEXT NOT NULL,
    created_at_ms INTEGER NOT NULL,
    started_at_ms INTEGER,
    ended_at_ms INTEGER,
    output BLOB,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Loading: ended runs cost nothing.
CREATE INDEX runs_live ON runs (run_id) WHERE ended_at_ms IS NULL;
-- Pruning.
CREATE INDEX runs_ended ON runs (ended_at_ms) WHERE ended_at_ms IS NOT NULL;
-- The list of a function's runs.
CREATE INDEX runs_by_function ON runs (function_id, run_id);
-- The runs of an event; whether an event is still referred to.
CREATE INDEX runs_by_event ON runs (event_id, run_id);

CREATE TABLE journal (
    run_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    shard INTEGER NOT NULL,
    kind TEXT NOT NULL,
    step_id TEXT NOT NULL,
    at_ms INTEGER NOT NULL,
    meta BLOB NOT NULL,
    payload BLOB,
    crc INTEGER NOT NULL,
    PRIMARY KEY (run_id, n)
) STRICT, WITHOUT ROWID;

CREATE TABLE items (
    item_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    step_id TEXT NOT NULL,
    stack_index INTEGER NOT NULL,
    attempt INTEGER NOT NULL,
    generation INTEGER NOT NULL,
    losses INTEGER NOT NULL,
    state TEXT NOT NULL,
    queued_at_ms INTEGER NOT NULL,
    due_at_ms INTEGER NOT NULL,
    sent_at_ms INTEGER NOT NULL,
    slots TEXT NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE waits (
    wait_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    run_id TEXT NOT NULL,
    step_id TEXT NOT NULL,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    expression TEXT NOT NULL,
    captured BLOB NOT NULL,
    opened_at_ms INTEGER NOT NULL,
    fires_at_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE events (
    internal_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    event_id TEXT NOT NULL,
    name TEXT NOT NULL,
    ts_ms INTEGER NOT NULL,
    received_at_ms INTEGER NOT NULL,
    body BLOB,
    run_id TEXT,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The list of the events of a name.
CREATE INDEX events_by_name ON events (name, internal_id);

CREATE TABLE marks (
    key TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    internal_id TEXT NOT NULL,
    expires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Pruning.
CREATE INDEX marks_expiring ON marks (expires_at_ms);

CREATE TABLE apps (
    app_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    name TEXT NOT NULL,
    url TEXT NOT NULL,
    sdk TEXT NOT NULL,
    framework TEXT NOT NULL,
    app_version TEXT NOT NULL,
    checksum TEXT NOT NULL,
    error TEXT NOT NULL,
    synced_at_ms INTEGER NOT NULL,
    archived_at_ms INTEGER
) STRICT, WITHOUT ROWID;

CREATE TABLE functions (
    function_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    app_id TEXT NOT NULL,
    slug TEXT NOT NULL,
    version INTEGER NOT NULL,
    config BLOB NOT NULL,
    created_at_ms INTEGER NOT NULL,
    archived_at_ms INTEGER,
    crc INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE crons (
    cron_id TEXT NOT NULL PRIMARY KEY,
    shard INTEGER NOT NULL,
    function_id TEXT NOT NULL,
    expression TEXT NOT NULL,
    last_slot_ms INTEGER NOT NULL,
    next_slot_ms INTEGER NOT NULL,
    fires_at_ms INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE subscribers (
    event_name TEXT NOT NULL,
    shard INTEGER NOT NULL,
    PRIMARY KEY (event_name, shard)
) STRICT, WITHOUT ROWID;

CREATE TABLE messages (
    shard INTEGER NOT NULL,
    sender INTEGER NOT NULL,
    number INTEGER NOT NULL,
    body BLOB NOT NULL,
    crc INTEGER NOT NULL,
    PRIMARY KEY (shard, sender, number)
) STRICT, WITHOUT ROWID;
