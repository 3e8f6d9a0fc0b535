-- KEYS: the fleet. ARGV: id, report or '' to take leave, forget_ms. Answers the server's time.
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local stamp = string.format('%.0f', now)
if ARGV[2] == '' then
  redis.call('HDEL', KEYS[1], ARGV[1])
  return stamp
end
-- A first write that frees: what follows is then taken although memory may have run out.
redis.call('HDEL', KEYS[1], '')
redis.call('HSET', KEYS[1], ARGV[1], stamp .. ' ' .. ARGV[2])
redis.call('PEXPIRE', KEYS[1], ARGV[3])
-- One report in as many as there are members looks for those that are gone: a bounded share for each.
if now % redis.call('HLEN', KEYS[1]) == 0 then
  local members = redis.call('HGETALL', KEYS[1])
  for at = 1, #members, 2 do
    local seen = tonumber(string.match(members[at + 1], '^%d+')) or 0
    if now - seen > tonumber(ARGV[3]) then redis.call('HDEL', KEYS[1], members[at]) end
  end
end
return stamp
