-- After a throttling answer. ARGV[2] for how long there are no turns (µs); ARGV[3] what is left of the
-- pace, ARGV[4] at least; ARGV[5] which answers count as one (µs). Answers {'ok'}.
held = math.max(held, now + tonumber(ARGV[2]))
redis.call('HSET', KEYS[1], 'held', whole(held))
if math.abs(now - shrunk) >= tonumber(ARGV[5]) then
  part = math.max(tonumber(ARGV[4]), part * tonumber(ARGV[3]))
  redis.call('HSET', KEYS[1], 'part', tostring(part), 'shrunk', whole(now))
end
keep(math.max(due, walk, held))
return { 'ok' }
