-- What is known of a video, and nothing is changed. KEYS[1] is the video's hash.
-- Answers {'unknown'} or {'known', fence, memory or '', ms that the lease lasts, 0 without one}.
local known = redis.call('HMGET', KEYS[1], 'fence', 'memory', 'owner', 'until')
if not known[1] then
  return { 'unknown' }
end
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local left = known[3] and known[3] ~= '' and math.max(0, tonumber(known[4] or 0) - now) or 0
return { 'known', known[1], known[2] or '', string.format('%.0f', left) }
