-- Times are milliseconds since 1970-01-01 UTC, durations milliseconds, sizes bytes. NULL: not known.

CREATE TABLE run (
    id                INTEGER PRIMARY KEY AUTOINCREMENT,
    started_ms        INTEGER NOT NULL,
    ended_ms          INTEGER,
    state             TEXT NOT NULL CHECK (state IN ('running', 'done', 'cut_off', 'cancelled')),
    plan              TEXT NOT NULL CHECK (json_valid(plan)),
    server            TEXT NOT NULL,
    model             TEXT NOT NULL,
    server_version    TEXT,
    note              TEXT,
    peak_memory_bytes INTEGER,
    fingerprint       TEXT NOT NULL CHECK (json_valid(fingerprint)),
    -- The version of the formulas that made the trials' figures.
    metrics_version   INTEGER NOT NULL
) STRICT;
CREATE INDEX run_by_model ON run (server, model, id);

CREATE TABLE trial (
    run                  INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    seq                  INTEGER NOT NULL,
    phase                TEXT NOT NULL CHECK (phase IN ('warmup', 'measured')),
    ttft_ms              REAL,
    decode_tok_s         REAL,
    prefill_tok_s        REAL,
    total_ms             REAL NOT NULL,
    output_tokens        INTEGER,
    prompt_tokens        INTEGER,
    cached_tokens        INTEGER,
    server_decode_tok_s  REAL,
    server_prefill_tok_s REAL,
    finish               TEXT,
    -- Why the trial does not count.
    flaw                 TEXT,
    PRIMARY KEY (run, phase, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE switch (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    started_ms     INTEGER NOT NULL,
    from_server    TEXT,
    from_model     TEXT,
    from_instance  TEXT,
    to_server      TEXT NOT NULL,
    to_model       TEXT NOT NULL,
    -- The last phase that was entered.
    phase          TEXT NOT NULL,
    -- NULL while it is under way.
    outcome        TEXT CHECK (outcome IN ('committed', 'rolled_back', 'cancelled')),
    took_ms        INTEGER,
    load_ms        INTEGER,
    first_token_ms INTEGER,
    steps          TEXT NOT NULL DEFAULT '[]' CHECK (json_valid(steps)),
    reason         TEXT,
    error          TEXT CHECK (error IS NULL OR json_valid(error)),
    CHECK ((from_server IS NULL) = (from_model IS NULL) AND (from_server IS NULL) = (from_instance IS NULL))
) STRICT;
CREATE INDEX switch_by_target ON switch (to_server, to_model, id);
CREATE INDEX switch_under_way ON switch (id) WHERE outcome IS NULL;

CREATE TABLE event (
    id     INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms  INTEGER NOT NULL,
    server TEXT,
    kind   TEXT NOT NULL,
    detail TEXT NOT NULL
) STRICT;
CREATE INDEX event_by_time ON event (at_ms);

-- The model that was active last, so that a restart knows it.
CREATE TABLE active (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    server   TEXT NOT NULL,
    model    TEXT NOT NULL,
    instance TEXT NOT NULL,
    since_ms INTEGER NOT NULL
) STRICT;
