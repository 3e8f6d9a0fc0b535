-- ARGV: skew_ms. Notes how far the store's time has come, so that it never goes back behind what is answered here: epoch
-- and time.
if not whole then return redis.error_reply('LINKGATELOST') end
local skew = tonumber(ARGV[1])
local at = integer(steady(skew))
spare_memory_limit()
floor_of_server(tonumber(at), skew)
redis.call('HSET', meta, 'u', at)
return {epoch, at}
