-- ARGV[4] length of the lease (ms); ARGV[5] the field t:<cause>; ARGV[6] the event's time (ms) or ''.
-- Answers {'done', record}, {'outdated'}, {'busy', ms to wait} or {'held', fence, memory, starts}, with ''
-- for what is not there.
local done = redis.call('HGET', event, 'done')
if done then
  return { 'done', done }
end

local known = redis.call('HMGET', video, 'owner', 'until', 'fence', 'memory', ARGV[5])
local holder, ends, fence = known[1], tonumber(known[2] or 0), tonumber(known[3] or 0)

-- A cover was set for a later event of this cause: this one comes too late, whoever holds the video.
if ARGV[6] ~= '' and known[5] and tonumber(ARGV[6]) < tonumber(known[5]) then
  return { 'outdated' }
end

local granted = until_after(ARGV[4])
if holder and ends > now then
  if holder ~= owner then
    return { 'busy', whole(ends - now) }
  end
  -- The same owner asks again because the reply was lost: the same lease, and never a shorter one.
  granted = math.max(granted, ends)
else
  fence = fence + 1
end

-- A start is counted once for each owner, that is, for each delivery.
if redis.call('HGET', event, 'starter') ~= owner then
  redis.call('HSET', event, 'starter', owner)
  redis.call('HINCRBY', event, 'starts', 1)
end
redis.call('HSET', video, 'owner', owner, 'until', whole(granted), 'fence', whole(fence))
keep_both()
return { 'held', whole(fence), known[4] or '', redis.call('HGET', event, 'starts') }
