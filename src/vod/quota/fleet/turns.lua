-- Takes turns. ARGV[2] how many at most; ARGV[3] µs between two; ARGV[4] how far ahead of their time they
-- are given (µs); ARGV[5], if given, µs between two of walks, which then take one that is there now; ARGV[6]
-- how far behind its pace a walk's may be (µs).
-- Answers {'turns', count, µs from now to the first, µs between two}, or {'none', µs until asking again
-- makes sense}.
local interval, ahead = math.ceil(tonumber(ARGV[3]) / part), tonumber(ARGV[4])
-- Nobody gets turns of later, and the pace is never slower than a tenth: a later due is one of another
-- server's clock.
due = math.max(now, held, math.min(due, now + ahead + 10 * tonumber(ARGV[3])))

if ARGV[5] then
  -- Only when no event waits, and within a share of their own.
  walk = math.max(walk, now - tonumber(ARGV[6]))
  if due > now or walk > now then
    return { 'none', whole(math.max(due, walk) - now) }
  end
  walk = walk + math.ceil(tonumber(ARGV[5]) / part)
  redis.call('HSET', KEYS[1], 'due', whole(due + interval), 'walk', whole(walk))
  keep(math.max(due + interval, walk))
  return { 'turns', '1', '0', whole(interval) }
end

local count = math.min(tonumber(ARGV[2]), math.floor((now + ahead - due) / interval) + 1)
if count < 1 then
  return { 'none', whole(due - ahead - now) }
end
redis.call('HSET', KEYS[1], 'due', whole(due + count * interval))
keep(math.max(due + count * interval, walk))
return { 'turns', whole(count), whole(due - now), whole(interval) }
