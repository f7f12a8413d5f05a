-- ARGV[4] fence. Answers {'ok'}, also when the video is no longer ours: then nothing is changed.
if latest(ARGV[4]) then
  redis.call('HDEL', video, 'owner', 'until')
  redis.call('HDEL', event, 'starts', 'starter')
  keep_both()
end
return { 'ok' }
