-- KEYS: the clients. ARGV: the revision that was seen or '', the next one, a sentinel, name, record or ''.
-- Answers 1 when the change was made, 0 when somebody else's came first.
local clients = KEYS[1]
if (redis.call('HGET', clients, '#') or '') ~= ARGV[1] then return 0 end
-- A first write that frees: taking a key back must work although memory may have run out.
redis.call('HDEL', clients, '')
redis.call('HSETNX', clients, '!', ARGV[3])
if ARGV[5] == '' then
  redis.call('HDEL', clients, ARGV[4])
else
  redis.call('HSET', clients, ARGV[4], ARGV[5])
end
redis.call('HSET', clients, '#', ARGV[2])
return 1
