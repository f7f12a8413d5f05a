-- A write, because a replica, a full server and one that cannot save all answer PING. KEYS[1] is a key
-- of its own; ARGV[3] keep (ms).
redis.call('SET', KEYS[1], '1', 'PX', ARGV[3])
return { 'ok' }
