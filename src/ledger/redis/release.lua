-- memory: '' to leave it. Answers {'ok'}, also when the video is no longer ours: then nothing is changed.
local function release(video, _, owner, fence, name, memory)
  local lost = 'x:' .. name
  -- Whether this lease is the latest one of the video and was not given back. It may have run out.
  local known = call('HMGET', video, 'owner', 'fence', lost)
  if known[1] ~= owner or known[2] ~= fence then
    return { 'ok' }
  end
  if memory == '' then
    call('HSET', video, 'owner', '')
  else
    call('HSET', video, 'owner', '', 'memory', memory)
  end
  if known[3] then
    call('HDEL', video, lost)
  end
  return { 'ok' }
end

