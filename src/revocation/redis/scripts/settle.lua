-- Ends the probation of a store that was set up on empty ground, once its time is over and nothing is missed.
if not whole then return redis.error_reply('LINKGATELOST') end
local probation = redis.call('HMGET', meta, 'y', 'o')
if probation[1] and now >= tonumber(probation[1]) and not probation[2] then redis.call('HDEL', meta, 'y') end
return 1
