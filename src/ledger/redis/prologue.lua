-- The transitions of several videos, one after another in one call: each is one function below, and
-- dispatch.lua calls them. Nothing else runs on the server in between. What they cost is the number of
-- commands that they call, so each calls as few as it can.
--   a video is a hash:   owner ('' when nobody has it), until (ms), fence, on (the event), memory,
--                        t:<cause> (ms), x:<event> (starts of it that ended without a word)
--   an event is a text:  the owner that ended it, and the record
-- All times are the server's: the clocks of several workers never agree.
local call = redis.call
local clock = call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
-- How long both live after the last transition (ms).
local keep = ARGV[1]
-- Length of an owner's name.
local OWNER = 36

-- A number as text: Lua would write a large one with an exponent.
local function whole(number)
  return string.format('%.0f', number)
end

-- The end of a lease of this length, as text. One more, because `now` was rounded down: the ledger must
-- never grant less than the worker believes.
local ends = {}
local function until_after(length, least)
  if least and least > now + tonumber(length) + 1 then
    return whole(least)
  end
  ends[length] = ends[length] or whole(now + tonumber(length) + 1)
  return ends[length]
end

