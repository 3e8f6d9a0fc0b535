-- Shared head of every script.
-- KEYS: t links, c cut-offs, m meta, s stream, r records, i by time, o by target, x by lapse, g history.
-- '!' in t and c carries the epoch (an integer in [2^52, 2^53): exact in a double, above every score).
local links, cutoffs, meta, stream = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local records, by_time, by_target, by_lapse, history = KEYS[5], KEYS[6], KEYS[7], KEYS[8], KEYS[9]
local state = redis.call('HMGET', meta, 'e', 'l', 'v', 'b')
local epoch, last = state[1], state[2]
local epoch_t, epoch_c = redis.call('ZSCORE', links, '!'), redis.call('ZSCORE', cutoffs, '!')
local whole = epoch and epoch_t == epoch and epoch_c == epoch
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)

local function integer(number) return string.format('%.0f', number) end

-- Holds off everybody who would load until the restorer is done, or has not been heard of for so long.
local function lease(who) redis.call('HSET', meta, 'z:' .. who, integer(now + 10000), 'z', 1) end

-- Takes back the lease of one restorer, and those that have run out; 'z' says whether any is left.
local function release(who)
  local fields, rest = redis.call('HGETALL', meta), false
  for at = 1, #fields, 2 do
    if string.sub(fields[at], 1, 2) == 'z:' then
      if fields[at] == 'z:' .. who or tonumber(fields[at + 1]) < now then
        redis.call('HDEL', meta, fields[at])
      else
        rest = true
      end
    end
  end
  if not rest then redis.call('HDEL', meta, 'z') end
end

-- Says that this store descends from other epochs, the newest first; sixteen are kept. '*' stands for whatever came
-- before: an operator has accepted that it is lost.
local function descend(epochs)
  local known, seen = {}, {[epoch] = true}
  for ancestor in string.gmatch(epochs .. ' ' .. (redis.call('HGET', meta, 'a') or ''), '%S+') do
    if not seen[ancestor] and #known < 16 then known[#known + 1] = ancestor end
    seen[ancestor] = true
  end
  if #known > 0 then redis.call('HSET', meta, 'a', table.concat(known, ' ')) end
  local missed = redis.call('HGET', meta, 'o')
  if missed and (seen[missed] or seen['*']) then redis.call('HDEL', meta, 'o') end
end

-- Links dated until then may have used downloads that are not known any more: no clock is further ahead of the store's than
-- `skew`, and `dated` is how far ahead a link of the history before may be.
local function forget_counts(skew, dated)
  local known = tonumber(redis.call('HGET', meta, 'k') or '0')
  redis.call('HSET', meta, 'k', integer(math.max(known, now + tonumber(skew), tonumber(dated))))
end

-- Writes down which entry a write was: by that a reader whose entries are gone knows the history for the one it read.
-- 64 writes a block, 4096 blocks.
local function remember(count, id)
  local block, at = math.floor(count / 64), count % 64 * 8
  local millis, sequence = string.match(id, '(%d+)-(%d+)')
  local ids = string.sub(redis.call('HGET', history, block) or '', 1, at)
  ids = ids .. string.rep('\0', at - #ids) .. struct.pack('>I6I2', millis, sequence % 65536)
  redis.call('HSET', history, block, ids)
  if at == 0 then redis.call('HDEL', history, block - 4096) end
  redis.call('HSET', meta, 'w', id)
end

-- Appends operations to the stream; each entry names its predecessor, so that readers notice a gap.
-- Beats are not counted. Answers the entry and the count.
local function append(retention, operations)
  local is_beat = operations[1] == 'b'
  local count = redis.call('HINCRBY', meta, 'n', is_beat and 0 or 1)
  local entry = {'XADD', stream, 'MINID', '~', integer(now - tonumber(retention)), '*', 'p', last, 'n', count, 'e', epoch}
  for _, word in ipairs(operations) do entry[#entry + 1] = word end
  last = redis.call(unpack(entry))
  redis.call('HSET', meta, 'l', last)
  if not is_beat then remember(count, last) end
  return last, count
end

-- The store's time: its clock, and never behind a time that it has told. Further back than clocks differ, it was wrong before.
local function steady(skew)
  local at = now
  for _, told in ipairs({string.match(last or '', '^%d+') or 0, redis.call('HGET', meta, 'u') or 0}) do
    told = tonumber(told)
    if told > at and told - now <= skew then at = told end
  end
  return at
end

-- How far "until now" reaches at least. The first write of a server that did not write last, or became the master since,
-- sets it: the last writes before may not have come to this server, and links that are out may be dated two skews ahead of
-- its clock, the first for the clocks of the two servers, the second for how far ahead of a store's time a link is dated. A
-- server that does not say which one it is counts as another each time.
local function floor_of_server(at, skew)
  local known = redis.call('HMGET', meta, 'i', 'h')
  local server, replication = redis.pcall('INFO', 'server'), redis.pcall('INFO', 'replication')
  local run = type(server) == 'string' and string.match(server, 'run_id:(%x+)')
  local reign = type(replication) == 'string' and string.match(replication, 'master_replid:(%x+)')
  local name, floor = run and reign and run .. ' ' .. reign, tonumber(known[2] or '0')
  if not name or known[1] ~= name then
    floor = math.max(floor, at + 2 * skew)
    redis.call('HSET', meta, 'i', name or 'unknown', 'h', integer(floor))
  end
  return floor
end

-- The set a member belongs to, and the letter of its operation.
local function set_of(member)
  if string.sub(member, 2, 2) == ':' or member == '*' then return cutoffs, 'c' end
  return links, 't'
end

-- How a record stands in the index by target: ordered by score within a member.
local function by_score(member, score, id) return member .. '\0' .. string.format('%016.0f', score) .. id end

-- The strictest score that any record still gives a member; nil when there is none.
local function strictest(member)
  local best = redis.call('ZREVRANGEBYLEX', by_target, '(' .. member .. '\1', '[' .. member .. '\0', 'LIMIT', 0, 1)[1]
  return best and tonumber(string.sub(best, #member + 2, #member + 17))
end

-- A first write that only frees: Redis then takes the rest of the script although memory has run out.
local function spare_memory_limit() redis.call('HDEL', meta, '') end

-- Adds a record; answers the operation that tells readers about it.
local function add(member, score, id, record, created, lapse)
  local set, letter = set_of(member)
  redis.call('ZADD', set, 'GT', score, member)
  redis.call('HSET', records, id, record)
  redis.call('ZADD', by_time, created, id)
  redis.call('ZADD', by_target, 0, by_score(member, score, id))
  if lapse ~= '' then redis.call('ZADD', by_lapse, lapse, id) end
  return letter, integer(redis.call('ZSCORE', set, member)) .. ' ' .. member
end
