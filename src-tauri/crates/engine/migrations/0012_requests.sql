-- A row for each request through the one address that has ended: counts, times and names, never texts. `client` is what it is counted
-- under; lists of fields are JSON arrays.
CREATE TABLE request (
    id INTEGER PRIMARY KEY,
    at_ms INTEGER NOT NULL,
    client TEXT NOT NULL,
    key TEXT,
    program TEXT,
    pid INTEGER,
    dialect TEXT NOT NULL,
    asked TEXT,
    server TEXT,
    model TEXT,
    role TEXT,
    why TEXT,
    state TEXT NOT NULL,
    queued_ms INTEGER,
    load_ms INTEGER,
    ttft_ms INTEGER,
    total_ms INTEGER,
    tokens_in INTEGER,
    tokens_cached INTEGER,
    tokens_out INTEGER,
    counted INTEGER NOT NULL,
    most_output INTEGER,
    decode_tok_s REAL,
    finish TEXT,
    status INTEGER,
    error TEXT,
    detail TEXT,
    streamed INTEGER NOT NULL,
    governed TEXT,
    changed TEXT
) STRICT;

CREATE INDEX request_at ON request (at_ms);
CREATE INDEX request_client ON request (client, id);
CREATE INDEX request_model ON request (model, id);
CREATE INDEX request_failed ON request (id) WHERE state IN ('failed', 'cut');

-- What they add up to, by whole minutes, hours and days of UTC, so that totals read few rows. '' as server and model: none was reached.
-- `ttft` and `decode` are counts by geometric steps, as JSON.
CREATE TABLE request_tally (
    span TEXT NOT NULL CHECK (span IN ('minute', 'hour', 'day')),
    begin_ms INTEGER NOT NULL,
    client TEXT NOT NULL,
    server TEXT NOT NULL,
    model TEXT NOT NULL,
    requests INTEGER NOT NULL,
    failed INTEGER NOT NULL,
    cancelled INTEGER NOT NULL,
    tokens_in INTEGER,
    tokens_cached INTEGER,
    tokens_out INTEGER,
    estimated INTEGER NOT NULL,
    ttft TEXT NOT NULL,
    decode TEXT NOT NULL,
    PRIMARY KEY (span, begin_ms, client, server, model)
) STRICT, WITHOUT ROWID;
