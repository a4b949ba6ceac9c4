-- The gauges' past. Means are weighted by the time that each sample stands for; NULL: not known.

-- Minutes; kept for 30 days.
CREATE TABLE gauge_minute (
    -- The begin of the minute.
    at_ms      INTEGER PRIMARY KEY,
    -- Samples in it.
    count      INTEGER NOT NULL,
    -- The time that they stand for.
    covered_ms INTEGER NOT NULL,
    -- Nothing was sampled right before its first sample.
    after_gap  INTEGER NOT NULL CHECK (after_gap IN (0, 1)),
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
    servers_memory_bytes_high REAL
) STRICT;

-- What the gauges showed during a benchmark run.
CREATE TABLE run_gauge (
    run       INTEGER NOT NULL REFERENCES run (id) ON DELETE CASCADE,
    -- Since the begin of the run.
    offset_ms INTEGER NOT NULL,
    cpu_percent REAL,
    memory_used_bytes REAL,
    swap_used_bytes REAL,
    gpu_load_percent REAL,
    gpu_memory_used_bytes REAL,
    gpu_power_w REAL,
    servers_memory_bytes REAL,
    PRIMARY KEY (run, offset_ms)
) STRICT, WITHOUT ROWID;

-- The usual distance of two points of it; NULL: none was kept.
ALTER TABLE run ADD COLUMN trace_step_ms INTEGER;
