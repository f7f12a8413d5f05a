-- Version 4. Times are milliseconds since 1970 by the machine's clock unless said otherwise.
CREATE TABLE message (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  due INTEGER NOT NULL,
  -- What `due` was counted with, so that it can be counted again after the clock was set back.
  delay INTEGER NOT NULL,
  added INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  deferrals INTEGER NOT NULL,
  failing_since INTEGER,
  first_error TEXT,
  last_error TEXT,
  trace TEXT,
  retried INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE INDEX message_due ON message (due, id);

CREATE TABLE dead (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  died INTEGER NOT NULL,
  reason TEXT NOT NULL,
  added INTEGER NOT NULL,
  name TEXT NOT NULL,
  kind TEXT NOT NULL,
  body BLOB NOT NULL,
  attempts INTEGER NOT NULL,
  deferrals INTEGER NOT NULL,
  failing_since INTEGER,
  first_error TEXT,
  last_error TEXT,
  trace TEXT,
  retried INTEGER NOT NULL DEFAULT 0
) STRICT;

-- See `ledger::entry`.
CREATE TABLE video (
  video TEXT PRIMARY KEY,
  owner TEXT,
  -- By the machine's monotonic clock: means nothing after its next start.
  until INTEGER NOT NULL,
  fence INTEGER NOT NULL,
  -- What is remembered of it and of its events, as JSON.
  body TEXT NOT NULL,
  touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX video_leased ON video (video) WHERE owner IS NOT NULL;
CREATE INDEX video_touched ON video (touched);

-- One row, counted up to find out whether anything can be written.
CREATE TABLE ping (at INTEGER NOT NULL) STRICT;
INSERT INTO ping VALUES (0);

CREATE TABLE bookmark (
  name TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
