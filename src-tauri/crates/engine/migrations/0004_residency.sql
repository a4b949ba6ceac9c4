-- A commit and the new active model are written together; what is left to do then is to take the previous model out of memory.
ALTER TABLE switch ADD COLUMN clearing INTEGER NOT NULL DEFAULT 0 CHECK (clearing IN (0, 1));
-- Whether the target was in memory before the switch; NULL: that was not looked at, so nothing was loaded.
ALTER TABLE switch ADD COLUMN to_was_loaded INTEGER CHECK (to_was_loaded IN (0, 1));
-- Answers of the previous model that were cut.
ALTER TABLE switch ADD COLUMN answers_cut INTEGER NOT NULL DEFAULT 0;
DROP INDEX switch_under_way;
CREATE INDEX switch_under_way ON switch (id) WHERE outcome IS NULL OR clearing = 1;

-- Models that only Pilothouse has loaded and that must leave memory: after a measurement, or because they could not be taken out
-- when they should.
CREATE TABLE stray (
    server TEXT NOT NULL,
    model  TEXT NOT NULL,
    PRIMARY KEY (server, model)
) STRICT;
