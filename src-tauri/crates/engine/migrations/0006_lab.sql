-- The benchmark lab: sides of a comparison, levels of a sweep, who disturbed, and summaries that are computed once.

-- The run that was measured in turns with this one.
ALTER TABLE run ADD COLUMN against INTEGER REFERENCES run (id) ON DELETE SET NULL;
-- What its trials say together, under the formulas of metrics_version. NULL: it has not ended, or ended before this was kept.
ALTER TABLE run ADD COLUMN summary TEXT CHECK (summary IS NULL OR json_valid(summary));
-- Who disturbed it. NULL: nobody looked.
ALTER TABLE run ADD COLUMN disturbed TEXT CHECK (disturbed IS NULL OR json_valid(disturbed));

ALTER TABLE trial ADD COLUMN block INTEGER;
-- Requests at a time; NULL: one.
ALTER TABLE trial ADD COLUMN concurrency INTEGER;
-- Since the begin of the run.
ALTER TABLE trial ADD COLUMN begun_ms REAL;
-- From the moment in which it was due until it was sent.
ALTER TABLE trial ADD COLUMN late_ms REAL;

-- What the cards showed, on the run's own time axis: columns of equal length, as JSON.
CREATE TABLE run_cards (
    run   INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE,
    cards TEXT NOT NULL CHECK (json_valid(cards))
) STRICT;

-- Runs with which a new level began that a person takes for the right one.
CREATE TABLE accepted_level (
    run INTEGER PRIMARY KEY REFERENCES run (id) ON DELETE CASCADE
) STRICT;
