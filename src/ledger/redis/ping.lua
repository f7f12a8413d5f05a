-- Every command of the other scripts, on keys of its own: a replica and a full server answer PING, and so
-- does one whose access list lacks what is needed. KEYS[1] is a hash, KEYS[2] a text; ARGV[1] keep (ms).
redis.call('TIME')
redis.call('HSET', KEYS[1], 'ping', '1')
redis.call('HGET', KEYS[1], 'ping')
redis.call('HMGET', KEYS[1], 'ping')
redis.call('HDEL', KEYS[1], 'ping')
redis.call('PEXPIRE', KEYS[1], ARGV[1])
redis.call('SET', KEYS[2], '1', 'PX', ARGV[1])
redis.call('SETRANGE', KEYS[2], 0, '2')
redis.call('GETRANGE', KEYS[2], 0, 0)
redis.call('GET', KEYS[2])
return { 'ok' }
