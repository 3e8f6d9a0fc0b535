-- ARGV: retention_ms, who restores, the epoch it knew or '', until when links of that may be dated, then member, score, id, record, created_ms, lapse_ms, again and again.
-- Writes back what this store has lost; leaves alone what it knows as strictly or more so.
if not whole then return redis.error_reply('LINKGATELOST') end
lease(ARGV[2])
-- In another epoch than the one that was known, counts of downloads are lost.
if ARGV[3] ~= '' and ARGV[3] ~= epoch then redis.call('HSET', meta, 'k', integer(now)) end
-- The store's time may have been further then: "until now" reaches that far from now on.
if tonumber(ARGV[4]) > tonumber(redis.call('HGET', meta, 'h') or '0') then redis.call('HSET', meta, 'h', ARGV[4]) end
local operations = {}
for at = 5, #ARGV, 6 do
  local member, score = ARGV[at], ARGV[at + 1]
  local set, letter = set_of(member)
  local known = redis.call('ZSCORE', set, member)
  -- Readers keep the ends of links in whole seconds, rounded up: a link that is known is known well enough.
  if not known or (letter == 'c' and tonumber(known) < tonumber(score)) then
    local _, operation = add(member, score, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
    operations[#operations + 1] = letter
    operations[#operations + 1] = operation
  end
end
if #operations > 0 then append(ARGV[1], operations) end
return #operations / 2
