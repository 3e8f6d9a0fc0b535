-- KEYS: the nine, then the link's own hash: '!' downloads begun, client -> when it was last seen.
-- ARGV: most, client or '', window_ms, issued_ms, forget_ms, '1' when the request begins a download or '', the epoch
-- that the caller judges by.
-- Answers 1 when the request is within the count, 0 when the downloads are used up, -1 when the count was lost.
if not whole then return redis.error_reply('LINKGATELOST') end
if ARGV[7] ~= epoch then return -1 end
local own, client = KEYS[10], ARGV[2]
local used = redis.call('HGET', own, '!')
if not used and tonumber(ARGV[4]) <= tonumber(redis.call('HGET', meta, 'k') or '-1') then return -1 end
used = tonumber(used or '0')
local seen = client ~= '' and redis.call('HGET', own, client)
local goes_on = seen and now - tonumber(seen) <= tonumber(ARGV[3])
if not goes_on and used >= tonumber(ARGV[1]) then return 0 end
if ARGV[6] == '1' then
  spare_memory_limit()
  if not goes_on then redis.call('HSET', own, '!', used + 1) end
  if client ~= '' then redis.call('HSET', own, client, integer(now)) end
  redis.call('PEXPIREAT', own, ARGV[5])
end
return 1
