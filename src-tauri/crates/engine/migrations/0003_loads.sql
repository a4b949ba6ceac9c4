-- What instances took at their loads; later estimates are corrected by it.

CREATE TABLE load (
    id             INTEGER PRIMARY KEY AUTOINCREMENT,
    at_ms          INTEGER NOT NULL,
    server         TEXT NOT NULL,
    server_version TEXT,
    model          TEXT NOT NULL,
    -- Bytes of the weights on disk.
    size_bytes     INTEGER,
    -- Tokens per request, requests at a time, type of the cache.
    context        INTEGER NOT NULL,
    parallel       INTEGER NOT NULL,
    kv             TEXT NOT NULL,
    on_gpu         INTEGER NOT NULL CHECK (on_gpu IN (0, 1)),
    -- The most that it held while it was in memory.
    peak_bytes     INTEGER NOT NULL
) STRICT;
CREATE INDEX load_by_model ON load (server, model, id);
