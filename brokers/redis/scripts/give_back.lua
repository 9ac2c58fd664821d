-- After a lost connection: what was handed out to this consumer without its knowing is due again.
-- ARGV: group, consumer, the places it knows of.
local group, me = ARGV[1], ARGV[2]
local retries, _, handed_out = kept(group)
local known = {}
for i = 3, #ARGV do known[ARGV[i]] = true end
local held = redis.call('HGETALL', handed_out)
for i = 1, #held, 2 do
  if held[i + 1] == me and not known[held[i]] then
    redis.call('HDEL', handed_out, held[i])
    redis.call('ZADD', retries, now(), held[i])
  end
end
return alive(me) and 1 or -1
