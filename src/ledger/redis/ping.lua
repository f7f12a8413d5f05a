-- Every command of the transitions, on a key of its own: a replica and a full server answer PING, and
-- so does one whose access list lacks what is needed. KEYS[1] is the key; ARGV[3] keep (ms).
redis.call('TIME')
redis.call('HSET', KEYS[1], 'ping', '1')
redis.call('HGET', KEYS[1], 'ping')
redis.call('HMGET', KEYS[1], 'ping')
redis.call('HINCRBY', KEYS[1], 'count', 1)
redis.call('HDEL', KEYS[1], 'count')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return { 'ok' }
