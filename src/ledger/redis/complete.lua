-- ARGV[4] fence; ARGV[5] the record; ARGV[6] '1' if a cover was set, else '0'; ARGV[7] the field
-- t:<cause>; ARGV[8] the event's time (ms) or ''; ARGV[9] the memory.
-- Answers {'ok'} or {'lost'}.
if redis.call('HGET', event, 'done_by') == owner then
  return { 'ok' }
end

-- A lease that ran out is still good as long as nobody has taken the video since. A ledger that has
-- never seen the video was emptied after the lease was granted: what is stored now is true all the same,
-- and worth having, because without it our own cover would look like somebody else's.
local forgotten = not redis.call('HGET', video, 'fence')
if not latest(ARGV[4]) and not forgotten then
  return { 'lost' }
end

redis.call('HSET', event, 'done', ARGV[5], 'done_by', owner)
redis.call('HDEL', event, 'starts', 'starter')
redis.call('HDEL', video, 'owner', 'until')
redis.call('HSET', video, 'fence', ARGV[4], 'memory', ARGV[9])
if ARGV[6] == '1' and ARGV[8] ~= '' then
  -- The newest event time of the cause never goes back.
  local newest = tonumber(redis.call('HGET', video, ARGV[7]) or ARGV[8])
  redis.call('HSET', video, ARGV[7], whole(math.max(newest, tonumber(ARGV[8]))))
end
keep_both()
return { 'ok' }
