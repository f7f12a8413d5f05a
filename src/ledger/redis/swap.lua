-- Swaps texts, each if it is still the one that whoever wrote its successor had read; nothing else runs on the
-- server in between. A text begins with a stamp of 49 characters, a blank, and when its lease ends by this
-- server's clock (ms), 15 digits. No number is made of these: digits of one length compare as texts. A text
-- is never put together here: this Lua looks at every byte of each new one.
-- KEYS: the texts. ARGV: how long they live after this (ms); then for each four:
--   the stamp that is expected; '' if nothing may be there; '-' to be told what is there
--   '1' if the lease must not have run out
--   how long the successor's lease lasts (ms), and no shorter than it did; '' for none
--   the successor, with a lease that has ended
-- Answers '' for each that was swapped, else the present time and what is there.
local call, sub = redis.call, string.sub
local clock = call('TIME')
local ms = clock[1] * 1000 + math.floor(clock[2] / 1000)
local now = string.format('%015.0f', ms)
local keep = ARGV[1]

-- One more, because `ms` was rounded down: the ledger must never grant less than the worker believes.
local ends = {}
local function end_of(length)
  ends[length] = ends[length] or string.format('%015.0f', ms + tonumber(length) + 1)
  return ends[length]
end

local answers = {}
for number, key in ipairs(KEYS) do
  local at = 4 * number - 2
  local expected, length, text = ARGV[at], ARGV[at + 2], ARGV[at + 3]
  local over, swapped = '', false
  if expected == '' then
    swapped = call('SET', key, text, 'PX', keep, 'NX')
  elseif expected ~= '-' then
    local head = call('GETRANGE', key, 0, 64)
    over = sub(head, 51)
    if sub(head, 1, 49) == expected and (ARGV[at + 1] == '' or over > now) then
      swapped = call('SET', key, text, 'PX', keep)
    end
  end
  if swapped then
    if length ~= '' then
      local ending = end_of(length)
      call('SETRANGE', key, 50, over > ending and over or ending)
    end
    answers[number] = ''
  else
    answers[number] = now .. (call('GET', key) or '')
  end
end
return answers
