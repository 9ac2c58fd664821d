-- Consumers end in order: what they have is others' at once. ARGV: consumers.
local mine = {}
for _, consumer in ipairs(ARGV) do
  mine[consumer] = true
  redis.call('ZREM', consumers, consumer)
end
local owned = redis.call('HGETALL', owners)
for i = 1, #owned, 2 do
  if mine[owned[i + 1]] then redis.call('HDEL', owners, owned[i]) end
end
return 1
