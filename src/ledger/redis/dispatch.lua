-- KEYS: for each transition the video and the event. ARGV: keep, and then for each transition its
-- name, the number of its arguments, and these. Answers one list for each.
local transitions = { claim = claim, remember = remember, complete = complete, release = release }
local answers, at = {}, 2
for number = 1, #KEYS / 2 do
  local last = at + 1 + tonumber(ARGV[at + 1])
  local video, event = KEYS[2 * number - 1], KEYS[2 * number]
  answers[number] = transitions[ARGV[at]](video, event, unpack(ARGV, at + 2, last))
  at = last + 1
end
return answers
