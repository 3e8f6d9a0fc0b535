-- ARGV: retention_ms, who restores (or '' where no more than this is missing), the epoch it knew or '', until when links of
-- that may be dated, skew_ms, who writes back in records, until when it had read in ms, then member, score, id, record,
-- created_ms, lapse_ms, again and again.
-- Writes back what this store has lost; leaves alone what it knows as strictly or more so.
if not whole then return redis.error_reply('LINKGATELOST') end
spare_memory_limit()
if ARGV[2] ~= '' then lease(ARGV[2]) end
-- In another epoch than the one that was known, counts of downloads are lost.
if ARGV[3] ~= '' and ARGV[3] ~= epoch then forget_counts(ARGV[5], ARGV[4]) end
-- The store's time may have been further then: "until now" reaches that far from now on.
if tonumber(ARGV[4]) > tonumber(redis.call('HGET', meta, 'h') or '0') then redis.call('HSET', meta, 'h', ARGV[4]) end

-- Whether the store has a member by a record that the caller may have known, or that another has written back. One that is
-- newer may be lifted, and what stands behind it would be gone with it. The strictest sixteen are looked at.
local function is_kept(member, score)
  local set, letter = set_of(member)
  local known = redis.call('ZSCORE', set, member)
  -- Readers keep the ends of links in whole seconds, rounded up: a link that is known is known well enough.
  local function is_strict(value) return letter == 't' or tonumber(value) >= tonumber(score) end
  if not known or not is_strict(known) then return false end
  local kept = redis.call('ZREVRANGEBYLEX', by_target, '(' .. member .. '\1', '[' .. member .. '\0', 'LIMIT', 0, 16)
  for _, entry in ipairs(kept) do
    local id = string.sub(entry, #member + 18)
    local record = redis.call('HGET', records, id)
    if record and is_strict(string.sub(entry, #member + 2, #member + 17)) then
      local created = tonumber(redis.call('ZSCORE', by_time, id) or '0')
      if created <= tonumber(ARGV[7]) or cjson.decode(record).created_by == ARGV[6] then return true end
    end
  end
  return #kept == 0
end

local operations = {}
for at = 8, #ARGV, 6 do
  local member, score = ARGV[at], ARGV[at + 1]
  if not is_kept(member, score) then
    local letter, operation = add(member, score, ARGV[at + 2], ARGV[at + 3], ARGV[at + 4], ARGV[at + 5])
    operations[#operations + 1] = letter
    operations[#operations + 1] = operation
  end
end
if #operations > 0 then append(ARGV[1], operations) end
return #operations / 2
