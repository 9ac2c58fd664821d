-- Opens a trigger's consumer group for a new consumer, and makes it where it is new. ARGV: group,
-- consumer, order, the id after which a new one begins ("$" = with the next entry). Answers whether
-- it was made, and the id up to which it has been read.
write_first()
local group, me, order, start = ARGV[1], ARGV[2], ARGV[3], ARGV[4]
local found, made = groups()[group], 0
redis.call('HSET', triggers, group, order)
local log = stream()
local last, read = log['last-generated-id'], false
if not found then
  if start == '$' or before(last, start) then start = last end
  local first = log['recorded-first-entry-id']
  if start == last then
    read = log['entries-added']
  elseif before(start, first) then
    read = log['entries-added'] - log['length']
  end
  local create = {'XGROUP', 'CREATE', events, group, start, 'MKSTREAM'}
  if read then create[7], create[8] = 'ENTRIESREAD', read end
  local done = redis.pcall(unpack(create))
  -- BUSYGROUP: somebody made it by hand before; it goes on from where it is.
  if done.err and not done.err:find('BUSYGROUP') then return redis.error_reply(done.err) end
  made = 1
  found = {['last-delivered-id'] = start}
end
redis.call('XGROUP', 'CREATECONSUMER', events, group, me)
redis.call('ZADD', consumers, now(), me)
return {made, found['last-delivered-id']}
