-- ARGV: retention_ms, member, score, id, record, created_ms, lapse_ms or '', '1' when somebody waits for it or ''.
-- Answers the epoch and the stream id.
if not whole then return redis.error_reply('LINKGATELOST') end
local letter, operation = add(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
local operations = {letter, operation}
if ARGV[8] == '1' then
  operations[3] = 'w'
  operations[4] = '1'
end
return {epoch, append(ARGV[1], operations)}
