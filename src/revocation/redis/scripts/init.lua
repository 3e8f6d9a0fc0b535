-- ARGV: epoch, layout, who restores (or ''), how long the store is on probation in ms, the epoch that is missed until
-- it has been restored (or '').
-- Sets the store up; only ever on empty ground, unless it is being restored.
if whole then return {0, epoch} end
if epoch or epoch_t or epoch_c then
  if ARGV[3] == '' then return redis.error_reply('LINKGATETORN') end
  redis.call('DEL', links, cutoffs, meta, stream, history)
end
redis.call('ZADD', links, ARGV[1], '!')
redis.call('ZADD', cutoffs, ARGV[1], '!')
epoch = redis.call('ZSCORE', links, '!')
redis.call('DEL', stream, history)
last = redis.call('XADD', stream, '*', 'p', '0-0', 'n', 0, 'e', epoch)
-- Links issued until now may have used downloads that are not known any more.
redis.call('HSET', meta, 'e', epoch, 'n', 0, 'l', last, 'v', ARGV[2], 'b', 0, 'k', integer(now))
remember(0, last)
if tonumber(ARGV[4]) > 0 then redis.call('HSET', meta, 'y', integer(now + tonumber(ARGV[4]))) end
if ARGV[5] ~= '' then redis.call('HSET', meta, 'o', ARGV[5]) end
if ARGV[3] ~= '' then lease(ARGV[3]) end
return {1, epoch}
