-- ARGV: retention_ms, the caller's time in ms, then ids. Without ids, whatever has lapsed by the server's clock and by
-- the caller's, so that one clock that has jumped ahead lifts nothing. Answers the epoch, the last stream id, and the lifted
-- records.
if not whole then return redis.error_reply('LINKGATELOST') end
spare_memory_limit()
local ids = {}
for at = 3, #ARGV do ids[#ids + 1] = ARGV[at] end
if #ids == 0 then ids = redis.call('ZRANGEBYSCORE', by_lapse, '-inf', integer(math.min(now, tonumber(ARGV[2]))), 'LIMIT', 0, 100) end
local lifted, members, operations = {}, {}, {}
for _, id in ipairs(ids) do
  local record = redis.call('HGET', records, id)
  redis.call('ZREM', by_lapse, id)
  if record then
    local about = cjson.decode(record)
    redis.call('HDEL', records, id)
    redis.call('ZREM', by_time, id)
    redis.call('ZREM', by_target, by_score(about.member, about.score, id))
    members[about.member] = true
    lifted[#lifted + 1] = record
  end
end
-- Each member once, however many of its records have gone.
for member in pairs(members) do
  local set, letter = set_of(member)
  local rest = strictest(member)
  if rest then
    redis.call('ZADD', set, integer(rest), member)
    operations[#operations + 1] = letter
    operations[#operations + 1] = integer(rest) .. ' ' .. member
  else
    redis.call('ZREM', set, member)
    operations[#operations + 1] = string.upper(letter)
    operations[#operations + 1] = '0 ' .. member
  end
end
if #operations > 0 then append(ARGV[1], operations) end
return {epoch, last, lifted}
