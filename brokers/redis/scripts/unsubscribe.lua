-- Removes a trigger's consumer group and all that waits for it. ARGV: group, this node's consumer
-- ("" = none). Answers how many deliveries it had; -1: there is none of the name; -2: another node
-- has it open.
local group, me = ARGV[1], ARGV[2]
if redis.call('HEXISTS', triggers, group) == 0 then return -1 end
local listed = redis.pcall('XINFO', 'CONSUMERS', events, group)
if not listed.err then
  for _, flat in ipairs(listed) do
    local name = named(flat).name
    if name ~= me and alive(name) then return -2 end
  end
end
local retries, waiting, handed_out, replays = kept(group)
local count = redis.call('HLEN', waiting)
local found = groups()[group]
if found then
  count = count + found.pending + unread(found, stream())
  redis.call('XGROUP', 'DESTROY', events, group)
end
redis.call('ZREM', consumers, me)
redis.call('HDEL', triggers, group)
redis.call('HDEL', owners, group)
redis.call('DEL', retries, waiting, handed_out, replays)
return count
