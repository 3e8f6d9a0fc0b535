-- ARGV: an epoch that is remembered. During a store's probation: this is not the store that was there before.
if not whole then return redis.error_reply('LINKGATELOST') end
spare_memory_limit()
if redis.call('HEXISTS', meta, 'y') == 1 then redis.call('HSET', meta, 'o', ARGV[1]) end
return 1
