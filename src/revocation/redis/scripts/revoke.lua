-- ARGV: retention_ms, id, member, score or '' for until now, issued_before or '', when it ends or '', how long after its
-- score it ends otherwise or '', how long it outlives that, the record without what is decided here, skew_ms, the
-- caller's time, '1' when somebody waits for it or ''.
-- Decides in one step how far "until now" reaches (`horizon::reach`): no link that counts as issued by now is beyond it.
-- Answers the epoch, the stream id, the count of writes, the store's time and the score.
if not whole then return redis.error_reply('LINKGATELOST') end
spare_memory_limit()
local skew = tonumber(ARGV[10])
local at = steady(skew)
local score, issued_before = tonumber(ARGV[4]), ARGV[5]
if not score then
  score = math.max(at + skew, floor_of_server(at, skew), tonumber(ARGV[11]))
  issued_before = integer(at)
end
local ends, lapse = ARGV[6], ARGV[6]
if ends == '' and ARGV[7] ~= '' then
  ends = integer(score + tonumber(ARGV[7]))
  lapse = integer(ends + tonumber(ARGV[8]))
end
local function or_null(number) return number == '' and 'null' or number end
local record = string.format('{"created_at":%s,"score":%s,"issued_before":%s,"expires_at":%s,"lapses_at":%s,%s',
  integer(at), integer(score), or_null(issued_before), or_null(ends), or_null(lapse), string.sub(ARGV[9], 2))
-- The same again, whose first answer was lost: what it wrote then must not outlive the record.
local earlier = redis.call('HGET', records, ARGV[2])
if earlier then redis.call('ZREM', by_target, by_score(ARGV[3], cjson.decode(earlier).score, ARGV[2])) end
local letter, operation = add(ARGV[3], integer(score), ARGV[2], record, integer(at), lapse)
local operations = {letter, operation}
if ARGV[12] == '1' then
  operations[3] = 'w'
  operations[4] = '1'
end
local entry, count = append(ARGV[1], operations)
return {epoch, entry, count, integer(at), integer(score)}
