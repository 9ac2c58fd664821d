-- Stores events, all or none. ARGV: the backlog and the bytes above which nothing is taken (-1 = no
-- limit), then for each event how many fields and values, and those. Answers their ids.
local max_backlog, max_bytes = tonumber(ARGV[1]), tonumber(ARGV[2])
if max_backlog >= 0 and backlog() >= max_backlog then return {'backlog'} end
if max_bytes >= 0 and used() >= max_bytes then return {'bytes'} end
local ids, at = {}, 3
while at <= #ARGV do
  local last = at + tonumber(ARGV[at])
  ids[#ids + 1] = redis.call('XADD', events, '*', unpack(ARGV, at + 1, last))
  at = last + 1
end
return ids
