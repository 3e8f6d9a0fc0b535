-- ARGV: retention_ms, interval_ms. Every instance calls it; at most one beat per interval is written.
if not whole then return redis.error_reply('LINKGATELOST') end
local beaten = tonumber(state[4] or '0')
if now >= beaten and now - beaten < tonumber(ARGV[2]) then return 0 end
spare_memory_limit()
append(ARGV[1], {'b', integer(now)})
redis.call('HSET', meta, 'b', integer(now))
-- Whoever was restoring and has not been heard of since is gone.
if redis.call('HEXISTS', meta, 'z') == 1 then release('') end
return 1
