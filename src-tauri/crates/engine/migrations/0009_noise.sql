-- Comparisons of a model with itself tell the noise of a machine. Which runs are sides of one is noted at the run, so that nobody
-- looks through all pairs for them: it is said beside each comparison.

ALTER TABLE run ADD COLUMN of_itself INTEGER NOT NULL DEFAULT 0 CHECK (of_itself IN (0, 1));
UPDATE run SET of_itself = 1 WHERE against IS NOT NULL AND EXISTS (SELECT 1 FROM run AS other
    WHERE other.id = run.against AND other.against = run.id AND other.server = run.server AND other.model = run.model);
CREATE INDEX run_of_itself ON run (started_ms, id) WHERE of_itself = 1 AND state = 'done';
DROP INDEX run_of_pair;

-- A side may learn of the other after that has learnt of it, so both are looked at.
CREATE TRIGGER pair_added AFTER INSERT ON run WHEN new.against IS NOT NULL BEGIN
    UPDATE run SET of_itself = EXISTS (SELECT 1 FROM run AS other WHERE other.id = run.against AND other.against = run.id
        AND other.server = run.server AND other.model = run.model) WHERE id IN (new.id, new.against);
END;
CREATE TRIGGER pair_changed AFTER UPDATE OF against ON run WHEN new.against IS NOT old.against BEGIN
    UPDATE run SET of_itself = EXISTS (SELECT 1 FROM run AS other WHERE other.id = run.against AND other.against = run.id
        AND other.server = run.server AND other.model = run.model) WHERE id IN (new.id, new.against, old.against);
END;
