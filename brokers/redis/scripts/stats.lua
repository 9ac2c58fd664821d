-- What the broker holds. ARGV: this node's consumers. Answers the newest id, entries, bytes, and for
-- each trigger: name, unread, pending, waiting and handed out beside the stream, of these waiting,
-- dead letters, consumers that count, entries pending for those of other nodes, and the consumer
-- that hands out in order.
local mine = {}
for _, consumer in ipairs(ARGV) do mine[consumer] = true end
local log = stream()
local answer = {log['last-generated-id'], log.length, used()}
local found = groups()
for _, name in ipairs(redis.call('HKEYS', triggers)) do
  local group = found[name] or {pending = 0, ['last-delivered-id'] = '0-0'}
  local retries, waiting = kept(name)
  local count, elsewhere = 0, 0
  local listed = redis.pcall('XINFO', 'CONSUMERS', events, name)
  for _, flat in ipairs(listed.err and {} or listed) do
    local consumer = named(flat)
    if alive(consumer.name) then
      count = count + 1
      if not mine[consumer.name] then elsewhere = elsewhere + consumer.pending end
    end
  end
  local letters_kept = redis.call('HGET', dead, name)
  answer[#answer + 1] = {name, unread(group, log), group.pending,
    redis.call('HLEN', waiting), redis.call('ZCARD', retries),
    tonumber(letters_kept or 0), count, elsewhere, redis.call('HGET', owners, name)}
end
return answer
