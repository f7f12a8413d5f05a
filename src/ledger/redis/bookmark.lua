-- KEYS[1] is the bookmark's hash; ARGV[2] keep (ms); ARGV[3], if given, the new text, '' to remove it.
-- Answers {text}, '' for none.
if ARGV[3] == '' then
  redis.call('HDEL', KEYS[1], 'text')
elseif ARGV[3] then
  redis.call('HSET', KEYS[1], 'text', ARGV[3])
  redis.call('PEXPIRE', KEYS[1], ARGV[2])
end
return { redis.call('HGET', KEYS[1], 'text') or '' }
