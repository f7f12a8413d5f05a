-- From version 3, which did not know that people try dead letters again.
ALTER TABLE message ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
ALTER TABLE dead ADD COLUMN retried INTEGER NOT NULL DEFAULT 0;
