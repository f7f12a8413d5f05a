-- ARGV[4] fence; ARGV[5] the fresh length of the lease (ms); ARGV[6] the memory.
-- Answers {'ok'} or {'lost'}. An effect follows, so a lease that ran out is lost even if nobody else has
-- taken the video yet.
local ends = tonumber(redis.call('HGET', video, 'until') or 0)
if not latest(ARGV[4]) or ends <= now then
  return { 'lost' }
end
local granted = math.max(until_after(ARGV[5]), ends)
redis.call('HSET', video, 'memory', ARGV[6], 'until', whole(granted))
keep_both()
return { 'ok' }
