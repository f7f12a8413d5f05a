-- Version 1. Callbacks that wait for the broker.
CREATE TABLE event (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  -- What must leave in the order in which it came: a number made of the video's id.
  line INTEGER NOT NULL,
  -- Milliseconds since 1970.
  at INTEGER NOT NULL,
  bytes INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  trace TEXT
) STRICT;
-- All that is read at the start, without the bodies.
CREATE INDEX event_line ON event (line, bytes);

-- One row, counted up to find out whether anything can be written.
CREATE TABLE ping (at INTEGER NOT NULL) STRICT;
INSERT INTO ping VALUES (0);
