-- Keys of client programs. Never a key itself: only what it is found by.
CREATE TABLE client_key (
    id                INTEGER PRIMARY KEY,
    name              TEXT NOT NULL UNIQUE COLLATE NOCASE,
    -- SHA-256 of the key's text.
    hash              BLOB NOT NULL UNIQUE CHECK (length(hash) = 32),
    scope             TEXT NOT NULL,
    -- A JSON list of patterns; an empty one: all models.
    models            TEXT NOT NULL,
    at_once           INTEGER,
    tokens_per_minute INTEGER,
    made_at_ms        INTEGER NOT NULL,
    last_used_at_ms   INTEGER
) STRICT;
