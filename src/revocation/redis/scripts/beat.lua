-- ARGV: retention_ms, interval_ms, until when by the server's clock it is proven that this is the Redis everybody
-- writes to, in ms, or '' for now. Not an age: a beat that was held up on its way must not look young.
-- Every instance that can prove it calls this; at most one beat per interval is written.
if not whole then return redis.error_reply('LINKGATELOST') end
local beaten, proven = tonumber(state[4] or '0'), now
if ARGV[3] ~= '' then proven = math.min(now, tonumber(ARGV[3])) end
if now >= beaten and (now - beaten < tonumber(ARGV[2]) or proven <= beaten) then return 0 end
spare_memory_limit()
append(ARGV[1], {'b', integer(proven)})
redis.call('HSET', meta, 'b', integer(proven))
-- A restorer that has not been heard of since is gone.
if redis.call('HEXISTS', meta, 'z') == 1 then release('') end
return 1
