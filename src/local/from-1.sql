-- From version 1, which kept the record of the cover and an unconfirmed write apart. A video with any
-- event that ended was decided, also where that left no record of a cover.
ALTER TABLE video ADD COLUMN memory TEXT;
UPDATE video SET memory = json_object(
  'standing', json(record),
  'decided', json(CASE WHEN record IS NOT NULL
    OR video IN (SELECT video FROM event_done WHERE done IS NOT NULL) THEN 'true' ELSE 'false' END),
  'writes', CASE WHEN intention IS NULL THEN json('[]') ELSE json_array(json_object(
    'cover', json_extract(intention, '$.cover'),
    'by', CASE WHEN json_extract(intention, '$.rule') IS NULL THEN json('"operator"')
          ELSE json_object('rule', json_extract(intention, '$.rule')) END,
    'event', json_extract(intention, '$.event'),
    'at', strftime('%Y-%m-%dT%H:%M:%SZ', touched / 1000, 'unixepoch')
  )) END
) WHERE record IS NOT NULL OR intention IS NOT NULL
  OR video IN (SELECT video FROM event_done WHERE done IS NOT NULL);
ALTER TABLE video DROP COLUMN record;
ALTER TABLE video DROP COLUMN intention;

CREATE TABLE bookmark (
  name TEXT PRIMARY KEY,
  text TEXT NOT NULL,
  touched INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
