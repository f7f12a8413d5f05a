-- set: '1' if a cover was set, else '0'; newest: the field t:<cause>; at: the event's time (ms) or ''.
-- Answers {'ok'} or {'lost'}.
local function complete(video, event, owner, fence, record, set, name, newest, at, memory)
  -- A lease that ran out is still good as long as nobody has taken the video since. A ledger that has
  -- never seen the video was emptied after the lease was granted: what is stored now is true all the same,
  -- and worth having, because without it our own cover would look like somebody else's.
  local lost = 'x:' .. name
  local known = call('HMGET', video, 'owner', 'fence', newest, lost)
  local forgotten = not known[2]
  if not forgotten and (known[1] ~= owner or known[2] ~= fence) then
    local done = call('GET', event)
    if done and string.sub(done, 1, OWNER) == owner then
      return { 'ok' }
    end
    return { 'lost' }
  end

  call('SET', event, owner .. record, 'PX', keep)
  if set == '1' and at ~= '' then
    -- The newest event time of the cause never goes back.
    local latest = at
    if known[3] and tonumber(known[3]) > tonumber(at) then
      latest = known[3]
    end
    call('HSET', video, 'owner', '', 'fence', fence, 'memory', memory, newest, latest)
  else
    call('HSET', video, 'owner', '', 'fence', fence, 'memory', memory)
  end
  if known[4] then
    call('HDEL', video, lost)
  end
  if forgotten then
    call('PEXPIRE', video, keep)
  end
  return { 'ok' }
end

