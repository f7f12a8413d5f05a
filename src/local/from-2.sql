-- From version 2, which kept a video's events in tables of their own, and no trace.
ALTER TABLE video ADD COLUMN body TEXT NOT NULL DEFAULT '{}';
UPDATE video SET body = json_object('events', json_object(
  'begun', json((
    SELECT json_group_object(event, json_object('times', starts, 'by', starter))
    FROM event_done WHERE event_done.video = video.video AND starter IS NOT NULL AND done IS NULL
  )),
  'done', json((
    SELECT json_group_object(event, json_object(
      'by', coalesce(done_by, '00000000-0000-0000-0000-000000000000'),
      'at', touched,
      'follow_up', json_extract(done, '$.follow_up')
    ))
    FROM event_done WHERE event_done.video = video.video AND done IS NOT NULL
  )),
  'newest', json((
    SELECT json_group_object(cause, at) FROM newest WHERE newest.video = video.video
  ))
));
UPDATE video SET body = json_set(body, '$.memory', json(memory)) WHERE memory IS NOT NULL;
ALTER TABLE video DROP COLUMN memory;
DROP TABLE newest;
DROP TABLE event_done;
ALTER TABLE message ADD COLUMN trace TEXT;
ALTER TABLE dead ADD COLUMN trace TEXT;
