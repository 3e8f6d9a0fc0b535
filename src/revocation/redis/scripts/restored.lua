-- ARGV: who restored, and the epochs of which everything that this one knows has been written back, skew_ms.
-- A store that has been restored needs no probation any more. Answers its epoch and those it descends from.
if not whole then return redis.error_reply('LINKGATELOST') end
spare_memory_limit()
descend(ARGV[2])
-- So much is accepted to be lost, counts of downloads with it.
if ARGV[2] == '*' then forget_counts(ARGV[3], '0') end
redis.call('HDEL', meta, 'y')
release(ARGV[1])
return {epoch, redis.call('HGET', meta, 'a') or ''}
