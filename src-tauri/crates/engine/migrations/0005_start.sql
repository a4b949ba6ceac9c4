-- A start looks for runs that its predecessor left under way, among all that there ever were.
CREATE INDEX run_under_way ON run (id) WHERE state = 'running';

-- Nothing ever read it.
DROP TABLE event;
