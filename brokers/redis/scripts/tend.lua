-- Looks after one trigger: takes over what belongs to consumers that are gone, and, where events
-- are handed out in order, the right to do so. ARGV: group, consumer, order, how many entries to
-- take over at most. Answers {-1} where the consumer does not count any more; else how many entries
-- it took over, in how many milliseconds the next retry is due (-2 = there is none), and whether
-- this consumer is to hand out.
write_first()
local group, me, order, room = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
if not alive(me) then return {-1} end
if order == 'ordered' then
  local owner = redis.call('HGET', owners, group)
  if not owner or not alive(owner) then
    redis.call('HSET', owners, group, me)
    owner = me
  end
  if owner ~= me then return {0, -2, 0} end
end
local retries, waiting, handed_out = kept(group)
local listed = redis.pcall('XINFO', 'CONSUMERS', events, group)
if listed.err then return {-1} end
-- A group that has read all has read as many as there are: see unread().
local found, log = groups()[group], stream()
if found and found['last-delivered-id'] == log['last-generated-id']
    and found['entries-read'] ~= log['entries-added'] then
  redis.call('XGROUP', 'SETID', events, group, log['last-generated-id'], 'ENTRIESREAD',
    log['entries-added'])
end
local gone = {}
for _, flat in ipairs(listed) do
  local consumer = named(flat)
  if not alive(consumer.name) then gone[#gone + 1] = consumer end
end
local moved = 0
if #gone > 0 then
  local held = redis.call('HGETALL', handed_out)
  for i = 1, #held, 2 do
    if not alive(held[i + 1]) then
      redis.call('HDEL', handed_out, held[i])
      redis.call('ZADD', retries, now(), held[i])
    end
  end
end
for _, consumer in ipairs(gone) do
  local rest = consumer.pending
  while rest > 0 and moved < room do
    local open = redis.call('XPENDING', events, group, '-', '+', math.min(500, room - moved),
      consumer.name)
    if #open == 0 then break end
    local claim = {'XCLAIM', events, group, me, 0}
    for _, each in ipairs(open) do claim[#claim + 1] = each[1] end
    claim[#claim + 1] = 'JUSTID'
    redis.call(unpack(claim))
    moved = moved + #open
    rest = rest - #open
  end
  if #redis.call('XPENDING', events, group, '-', '+', 1, consumer.name) == 0 then
    redis.call('XGROUP', 'DELCONSUMER', events, group, consumer.name)
  end
end
local first = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
return {moved, first[2] and math.max(0, tonumber(first[2]) - now()) or -2, 1}
