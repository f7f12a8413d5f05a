-- The common opening of every transition. One call is one transition: it runs whole or not at all.
--   KEYS[1]  the video's hash:  owner, until (ms), fence, memory, t:<cause> (ms)
--   KEYS[2]  the event's hash:  done, done_by, starts, starter
--   ARGV[1]  the transition's name, for whoever watches the wire; ARGV[2] owner; ARGV[3] keep (ms)
-- All times are the server's: the clocks of several workers never agree.
local video, event = KEYS[1], KEYS[2]
local owner, keep = ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

-- A number as text: Lua would write a large one with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- Both hashes live on for `keep` after the last transition.
local function keep_both()
  redis.call('PEXPIRE', video, whole(keep))
  redis.call('PEXPIRE', event, whole(keep))
end

-- Whether this lease is the latest one of the video and was not given back. It may have run out.
local function latest(fence)
  local lease = redis.call('HMGET', video, 'owner', 'fence')
  return lease[1] == owner and lease[2] == fence
end

-- The end of a lease of this length. One more, because `now` was rounded down: the ledger must never
-- grant less than the worker believes.
local function until_after(length)
  return now + tonumber(length) + 1
end

