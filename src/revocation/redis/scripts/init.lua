-- ARGV: epoch, layout, who restores (or ''), '1' when counts of downloads are lost (or ''). Sets the store up; only
-- ever on empty ground, unless somebody restores.
if whole then return {0, epoch} end
if epoch or epoch_t or epoch_c then
  if ARGV[3] == '' then return redis.error_reply('LINKGATETORN') end
  redis.call('DEL', links, cutoffs, meta, stream)
end
redis.call('ZADD', links, ARGV[1], '!')
redis.call('ZADD', cutoffs, ARGV[1], '!')
epoch = redis.call('ZSCORE', links, '!')
redis.call('DEL', stream)
last = redis.call('XADD', stream, '*', 'p', '0-0', 'n', 0, 'e', epoch)
redis.call('HSET', meta, 'e', epoch, 'n', 0, 'l', last, 'v', ARGV[2], 'b', 0)
-- Links issued until now may have used downloads that nobody knows of any more.
if ARGV[4] == '1' then redis.call('HSET', meta, 'k', integer(now)) end
if ARGV[3] ~= '' then lease(ARGV[3]) end
return {1, epoch}
