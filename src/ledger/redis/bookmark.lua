-- KEYS[1] is the bookmark's hash; ARGV[1] keep (ms); ARGV[2], if given, the new text, '' to remove it.
-- Answers {text}, '' for none.
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], 'text')
elseif ARGV[2] then
  redis.call('HSET', KEYS[1], 'text', ARGV[2])
  redis.call('PEXPIRE', KEYS[1], ARGV[1])
end
return { redis.call('HGET', KEYS[1], 'text') or '' }
