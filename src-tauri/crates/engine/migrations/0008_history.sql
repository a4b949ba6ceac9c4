-- A history of a million requests: what views ask is answered by indices and counts, and what is old grows less.

-- What runs are found by: the name of the plan, and what tells one machine from another in a fingerprint.
ALTER TABLE run ADD COLUMN plan_name TEXT NOT NULL DEFAULT '';
ALTER TABLE run ADD COLUMN machine TEXT NOT NULL DEFAULT '';
UPDATE run SET plan_name = coalesce(json_extract(plan, '$.name'), ''),
    machine = json_array(json_extract(fingerprint, '$.machine'), json_extract(fingerprint, '$.chip'),
        json_extract(fingerprint, '$.memory_bytes'));

-- The newest are those that began last: an imported run has a high number and an old begin. Both hold all that a list is
-- filtered by, so that no row is read that is not shown.
CREATE INDEX run_by_start ON run (started_ms, id, state, server, model, plan_name);
DROP INDEX run_by_model;
CREATE INDEX run_by_model ON run (server, model, state, started_ms, id, plan_name, machine);
-- Comparisons of a model with itself are looked for among all pairs.
CREATE INDEX run_of_pair ON run (server, model, against, state, started_ms) WHERE against IS NOT NULL;

-- How many runs there are of each kind, so that nobody counts them. Kept by the triggers below.
CREATE TABLE series (
    server    TEXT NOT NULL,
    model     TEXT NOT NULL,
    plan      TEXT NOT NULL,
    machine   TEXT NOT NULL,
    state     TEXT NOT NULL,
    runs      INTEGER NOT NULL,
    -- The latest begin that there was.
    newest_ms INTEGER NOT NULL,
    -- Grows with whatever may change what its runs say together.
    changes   INTEGER NOT NULL,
    PRIMARY KEY (server, model, plan, machine, state)
) STRICT, WITHOUT ROWID;
INSERT INTO series
    SELECT server, model, plan_name, machine, state, count(*), max(started_ms), 1 FROM run GROUP BY 1, 2, 3, 4, 5;

CREATE TRIGGER run_added AFTER INSERT ON run BEGIN
    INSERT INTO series
        VALUES (new.server, new.model, new.plan_name, new.machine, new.state, 1, new.started_ms, 1)
        ON CONFLICT DO UPDATE SET
            runs = runs + 1, newest_ms = max(newest_ms, excluded.newest_ms), changes = changes + 1;
END;
CREATE TRIGGER run_changed AFTER UPDATE OF state, summary, disturbed, peak_memory_bytes ON run BEGIN
    UPDATE series SET runs = runs - 1, changes = changes + 1
        WHERE server = old.server AND model = old.model AND plan = old.plan_name AND machine = old.machine
        AND state = old.state;
    INSERT INTO series
        VALUES (new.server, new.model, new.plan_name, new.machine, new.state, 1, new.started_ms, 1)
        ON CONFLICT DO UPDATE SET
            runs = runs + 1, newest_ms = max(newest_ms, excluded.newest_ms), changes = changes + 1;
END;
CREATE TRIGGER run_deleted AFTER DELETE ON run BEGIN
    UPDATE series SET runs = runs - 1, changes = changes + 1
        WHERE server = old.server AND model = old.model AND plan = old.plan_name AND machine = old.machine
        AND state = old.state;
END;
CREATE TRIGGER level_accepted AFTER INSERT ON accepted_level BEGIN
    UPDATE series SET changes = changes + 1
        WHERE (server, model, plan, machine, state) =
            (SELECT server, model, plan_name, machine, state FROM run WHERE id = new.run);
END;

-- The time between the events with text of one measured answer, from the client's clock: an unsigned LEB128 number for each,
-- in microseconds, in their order. 0: both came by the same read.
CREATE TABLE trial_gap (
    run  INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    seq  INTEGER NOT NULL,
    gaps BLOB NOT NULL,
    PRIMARY KEY (run, seq)
) STRICT, WITHOUT ROWID;

-- What of a run is still there, so that what has grown old is found by it.
ALTER TABLE run ADD COLUMN has_gaps INTEGER NOT NULL DEFAULT 0 CHECK (has_gaps IN (0, 1));
ALTER TABLE run ADD COLUMN has_warmups INTEGER NOT NULL DEFAULT 1 CHECK (has_warmups IN (0, 1));
-- NULL: no trace.
ALTER TABLE run ADD COLUMN trace_kept TEXT CHECK (trace_kept IN ('samples', 'minutes'));
UPDATE run SET trace_kept = 'samples' WHERE trace_step_ms IS NOT NULL OR id IN (SELECT run FROM run_cards);
CREATE INDEX run_with_gaps ON run (started_ms) WHERE has_gaps = 1;
CREATE INDEX run_with_warmups ON run (started_ms) WHERE has_warmups = 1;
CREATE INDEX run_with_trace ON run (trace_kept, started_ms) WHERE trace_kept IS NOT NULL;

-- Traces of runs that are old: minutes since the begin of the run. Means are weighted by the time that each sample stands for.
CREATE TABLE run_gauge_minute (
    run       INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    offset_ms INTEGER NOT NULL,
    cpu_percent_low REAL,
    cpu_percent_mean REAL,
    cpu_percent_high REAL,
    memory_used_bytes_low REAL,
    memory_used_bytes_mean REAL,
    memory_used_bytes_high REAL,
    swap_used_bytes_low REAL,
    swap_used_bytes_mean REAL,
    swap_used_bytes_high REAL,
    gpu_load_percent_low REAL,
    gpu_load_percent_mean REAL,
    gpu_load_percent_high REAL,
    gpu_memory_used_bytes_low REAL,
    gpu_memory_used_bytes_mean REAL,
    gpu_memory_used_bytes_high REAL,
    gpu_power_w_low REAL,
    gpu_power_w_mean REAL,
    gpu_power_w_high REAL,
    servers_memory_bytes_low REAL,
    servers_memory_bytes_mean REAL,
    servers_memory_bytes_high REAL,
    PRIMARY KEY (run, offset_ms)
) STRICT, WITHOUT ROWID;

-- How large a large history was when it was last measured: that takes longer than a view may.
CREATE TABLE measured_size (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    at_ms    INTEGER NOT NULL,
    size     TEXT NOT NULL CHECK (json_valid(size))
) STRICT;

-- Models that were measured because their server had changed its version, so that each is measured once.
CREATE TABLE update_check (
    server         TEXT NOT NULL,
    server_version TEXT NOT NULL,
    model          TEXT NOT NULL,
    at_ms          INTEGER NOT NULL,
    PRIMARY KEY (server, server_version, model)
) STRICT, WITHOUT ROWID;
