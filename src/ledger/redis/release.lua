-- ARGV[4] fence; ARGV[5] the memory, or '' to leave it. Answers {'ok'}, also when the video is no longer
-- ours: then nothing is changed.
if latest(ARGV[4]) then
  redis.call('HDEL', video, 'owner', 'until')
  redis.call('HDEL', event, 'starts', 'starter')
  if ARGV[5] ~= '' then
    redis.call('HSET', video, 'memory', ARGV[5])
  end
  keep_both()
end
return { 'ok' }
