-- The common opening of what is done with one operation's quota. KEYS[1] is its hash, of the whole fleet:
--   due     when the next turn is due at an even pace     walk    the same among walks
--   held    no turn before it                             part    which part of the pace was left,
--                                                         shrunk  and when
-- All of them are times of the server in µs, but for part.
-- ARGV[1] is how long it takes to grow back (µs).
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local known = redis.call('HMGET', KEYS[1], 'due', 'walk', 'held', 'part', 'shrunk')
local due, walk, held = tonumber(known[1] or 0), tonumber(known[2] or 0), tonumber(known[3] or 0)
local shrunk = tonumber(known[5] or 0)
-- Nobody is held longer than five minutes, unless a server with another clock has said so.
held = math.min(held, now + 300000000)
local part = math.min(1, tonumber(known[4] or 1) + math.max(0, now - shrunk) / tonumber(ARGV[1]))

-- A number as text: Lua would write a large one with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- The hash is forgotten ten minutes after it says nothing any more.
local function keep(last)
  redis.call('PEXPIRE', KEYS[1], whole(math.max(0, last - now) / 1000 + 600000))
end
