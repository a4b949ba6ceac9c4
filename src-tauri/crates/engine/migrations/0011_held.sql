-- What is held in memory beside the active model: the roles in force, pins, what was loaded on request. One document, because it is
-- written and read as a whole.
CREATE TABLE held (
    only_row INTEGER PRIMARY KEY CHECK (only_row = 1),
    document TEXT NOT NULL
) STRICT;
