-- ARGV: epoch, version, restoring ('1' or ''). Sets the store up; only ever on empty ground.
if whole then return {0, epoch} end
if epoch or epoch_t or epoch_c then
  if ARGV[3] ~= '1' then return redis.error_reply('LINKGATETORN') end
  redis.call('DEL', links, cutoffs, meta, stream)
end
redis.call('ZADD', links, ARGV[1], '!')
redis.call('ZADD', cutoffs, ARGV[1], '!')
-- Sets that were lost are made again from the records, as far as those are left.
for _, json in ipairs(redis.call('HVALS', records)) do
  local record = cjson.decode(json)
  redis.call('ZADD', (set_of(record.member)), 'GT', integer(record.score), record.member)
end
epoch = redis.call('ZSCORE', links, '!')
redis.call('DEL', stream)
last = redis.call('XADD', stream, '*', 'p', '0-0', 'n', 0, 'e', epoch)
redis.call('HSET', meta, 'e', epoch, 'n', 0, 'l', last, 'v', ARGV[2], 'b', 0)
if ARGV[3] == '1' then redis.call('HSET', meta, 'z', 1) end
return {1, epoch}
