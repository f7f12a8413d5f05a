-- Starts that ended without a word, and the last owner that is counted among them.
local function tally(text)
  if not text then
    return 0, ''
  end
  local count, last = string.match(text, '^(%d+):(.*)$')
  return tonumber(count), last
end

local function count_lost(video, name, owner)
  local field = 'x:' .. name
  local count, last = tally(call('HGET', video, field))
  if last ~= owner then
    count = count + 1
    call('HSET', video, field, whole(count) .. ':' .. owner)
  end
  return count
end

-- newest: the field t:<cause>; at: the event's time (ms) or ''.
-- Answers {'done', record}, {'outdated'}, {'busy', ms to wait} or {'held', fence, memory, starts}, with ''
-- for what is not there.
local function claim(video, event, owner, length, name, newest, at)
  local done = call('GET', event)
  if done then
    return { 'done', string.sub(done, OWNER + 1) }
  end

  local lost = 'x:' .. name
  local known = call('HMGET', video, 'owner', 'until', 'fence', 'on', 'memory', newest, lost)
  local holder, over = known[1], tonumber(known[2] or 0)

  -- A cover was set for a later event of this cause: this one comes too late, whoever holds the video.
  if at ~= '' and known[6] and tonumber(at) < tonumber(known[6]) then
    return { 'outdated' }
  end

  local starts, counted = tally(known[7])
  if counted ~= owner then
    starts = starts + 1
  end
  local fence, least = known[3] or '0', nil
  if known[3] and holder ~= '' and over > now then
    if holder ~= owner then
      return { 'busy', whole(over - now) }
    end
    -- The same owner asks again because the reply was lost: the same lease, and never a shorter one.
    least = over
  else
    fence = whole(fence + 1)
    -- A lease that was not given back: its event may have ended its process.
    if known[3] and holder ~= '' and holder ~= owner then
      local count = count_lost(video, known[4], holder)
      if known[4] == name then
        starts = count + 1
      end
    end
  end
  call('HSET', video, 'owner', owner, 'until', until_after(length, least), 'fence', fence, 'on', name)
  call('PEXPIRE', video, keep)
  return { 'held', fence, known[5] or '', whole(starts) }
end

