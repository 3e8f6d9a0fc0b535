-- ARGV: who restored. Says that everything this one knows has been written back.
if not whole then return redis.error_reply('LINKGATELOST') end
return redis.call('HDEL', meta, 'z:' .. ARGV[1])
