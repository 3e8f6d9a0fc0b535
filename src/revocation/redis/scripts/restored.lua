-- ARGV: who restored. Says that everything this one knows has been written back.
if not whole then return redis.error_reply('LINKGATELOST') end
release(ARGV[1])
return 1
