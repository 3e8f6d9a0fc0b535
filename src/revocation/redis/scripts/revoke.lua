-- ARGV: retention_ms, member, score, id, record, created_ms, lapse_ms or ''.
if not whole then return redis.error_reply('LINKGATELOST') end
local letter, operation = add(ARGV[2], ARGV[3], ARGV[4], ARGV[5], ARGV[6], ARGV[7])
return append(ARGV[1], {letter, operation})
