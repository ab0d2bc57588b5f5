-- Who is disabled by `apply` has an action `put`: what counts is whether it was disabled after the change.
DROP INDEX object_change_recent;
CREATE INDEX object_change_recent ON object_change (at) WHERE disabled OR action = 'remove';
