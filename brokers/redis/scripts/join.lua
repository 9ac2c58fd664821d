-- A node comes: former lives of the same node count no more. ARGV: node. Answers the names of all
-- triggers, and the id of the newest entry.
for _, consumer in ipairs(redis.call('ZRANGE', consumers, 0, -1)) do
  if consumer:match('^(.*)/[^/]*$') == ARGV[1] then redis.call('ZREM', consumers, consumer) end
end
return {redis.call('HKEYS', triggers), stream()['last-generated-id']}
