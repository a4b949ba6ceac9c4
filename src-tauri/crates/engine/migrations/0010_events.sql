-- What was told in notices, kept over restarts: the newest ones, as the page Events lists them.
CREATE TABLE event (
    -- The number that the notice has in snapshots.
    id     INTEGER PRIMARY KEY,
    at_ms  INTEGER NOT NULL,
    level  TEXT NOT NULL,
    kind   TEXT NOT NULL,
    -- The server that it is about.
    server TEXT,
    title  TEXT NOT NULL,
    body   TEXT NOT NULL,
    hint   TEXT,
    -- What can be done about it, as JSON.
    acts   TEXT NOT NULL,
    -- It answers a click, so that no view shows it a second time beside what was clicked.
    own    INTEGER NOT NULL
) STRICT;
