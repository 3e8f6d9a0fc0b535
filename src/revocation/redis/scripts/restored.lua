-- ARGV: who restored, the epochs of which everything that this one knows has been written back, skew_ms.
-- A store that has been restored needs no probation any more.
if not whole then return redis.error_reply('LINKGATELOST') end
descend(ARGV[2], tonumber(ARGV[3]))
redis.call('HDEL', meta, 'y')
release(ARGV[1])
return 1
