-- KEYS: a caller's answers (hash: name -> when it ends, ' ', value), their order (sorted set: name by when it was put),
-- the callers of its party (sorted set: caller by bytes; '' has minus the bytes of all), when the last answer of each ends
-- (sorted set).
-- ARGV: caller, name, value or '' to free the place, hold_ms, the value that is replaced or '' (another one is left alone),
-- bytes that one caller may take, bytes that all may take, bytes of an entry besides its value.
-- Answers the value that was there, or ''; and 1 when the new one is there now, else 0.
local answers, order, callers, ends = KEYS[1], KEYS[2], KEYS[3], KEYS[4]
local caller, name, value, entry = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[8])
local each, all = tonumber(ARGV[6]), tonumber(ARGV[7])
local clock = redis.call('TIME')
local now = clock[1] * 1000 + math.floor(clock[2] / 1000)
local head = 14 -- the time, 13 digits, and a space

local function bytes_of(member) return tonumber(redis.call('ZSCORE', callers, member) or '0') end
local function cost(held) return #held - head + entry end
local function is_over(held) return tonumber(string.sub(held, 1, 13)) < now end

-- The keys of any caller of the party.
local function keys_of(other)
  local own = string.sub(answers, 1, #answers - #caller) .. other
  return own, own .. ':o'
end

local function account(other, bytes)
  redis.call('ZADD', callers, 'INCR', bytes, other)
  redis.call('ZADD', callers, 'INCR', -bytes, '')
end

local function forget_caller(other)
  account(other, -bytes_of(other))
  redis.call('ZREM', callers, other)
  redis.call('ZREM', ends, other)
  redis.call('DEL', keys_of(other))
end

local function forget(other, one)
  local held, queue = keys_of(other)
  local bytes = cost(redis.call('HGET', held, one))
  -- First: what only frees is done although memory has run out, and so is the rest of the script then.
  redis.call('HDEL', held, one)
  account(other, -bytes)
  redis.call('ZREM', queue, one)
  if redis.call('HLEN', held) == 0 then forget_caller(other) end
end

-- Takes the oldest answer of a caller away.
local function give_way(other)
  local held, queue = keys_of(other)
  local oldest = redis.call('ZRANGE', queue, 0, 0)[1]
  if oldest and redis.call('HEXISTS', held, oldest) == 1 then forget(other, oldest) else forget_caller(other) end
end

local known = redis.call('HGET', answers, name)
local before = known and not is_over(known) and string.sub(known, head + 1) or ''
if before ~= '' and before ~= ARGV[5] then return {before, 0} end
local fits = value ~= '' and #value + entry <= each
if known then
  forget(caller, name)
  known = nil
end
-- Redis has forgotten all of it.
if not known and bytes_of(caller) > 0 and redis.call('HLEN', answers) == 0 then forget_caller(caller) end
-- A first write that takes room: where there is none, nothing is kept.
if fits then
  local until_when = now + tonumber(ARGV[4])
  redis.call('HSET', answers, name, string.format('%013.0f ', until_when) .. value)
  redis.call('ZADD', order, string.format('%.0f', now), name)
  redis.call('ZADD', ends, 'GT', string.format('%.0f', until_when), caller)
  account(caller, #value + entry)
end
-- Callers whose answers are all over, some at a time, and those of this caller at the head of the queue.
for _, other in ipairs(redis.call('ZRANGEBYSCORE', ends, '-inf', string.format('%.0f', now - 1), 'LIMIT', 0, 8)) do
  forget_caller(other)
end
for _, one in ipairs(redis.call('ZRANGE', order, 0, 7)) do
  local held = redis.call('HGET', answers, one)
  if not held or not is_over(held) then break end
  forget(caller, one)
end
while bytes_of(caller) > each do give_way(caller) end
while -bytes_of('') > all do
  local most = redis.call('ZRANGE', callers, 0, 0, 'REV')[1]
  if most == '' then
    redis.call('DEL', callers)
    break
  end
  give_way(most)
end
-- Redis forgets by itself what is not looked after.
local last = redis.call('ZSCORE', ends, caller)
if last then
  redis.call('PEXPIREAT', answers, last)
  redis.call('PEXPIREAT', order, last)
end
local very_last = redis.call('ZRANGE', ends, 0, 0, 'REV', 'WITHSCORES')[2]
if very_last then
  redis.call('PEXPIREAT', callers, very_last)
  redis.call('PEXPIREAT', ends, very_last)
end
return {before, fits and 1 or 0}
