-- length: the fresh length of the lease (ms).
-- Answers {'ok'} or {'lost'}. An effect follows, so a lease that ran out is lost even if nobody else has
-- taken the video yet.
local function remember(video, _, owner, fence, length, memory)
  local lease = call('HMGET', video, 'owner', 'fence', 'until')
  local over = tonumber(lease[3] or 0)
  if lease[1] ~= owner or lease[2] ~= fence or over <= now then
    return { 'lost' }
  end
  call('HSET', video, 'memory', memory, 'until', until_after(length, over))
  return { 'ok' }
end

