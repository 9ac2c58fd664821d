-- This node is alive. ARGV: milliseconds after which a consumer counts as gone (0 = none does now),
-- this node's consumers. Answers the names of all triggers; consumers that were taken for gone
-- learn it from their own requests.
write_first()
local at = now()
for i = 2, #ARGV do redis.call('ZADD', consumers, 'XX', at, ARGV[i]) end
local patience = tonumber(ARGV[1])
if patience > 0 then redis.call('ZREMRANGEBYSCORE', consumers, '-inf', at - patience) end
return redis.call('HKEYS', triggers)
