-- Removes entries that everyone has settled: those that are too old, and the oldest where the log
-- takes too many bytes. ARGV: milliseconds an entry stays, bytes the log may take. Answers how many
-- it removed; whole blocks of entries alone, at most some 10,000 at a time.
local log = stream()
if log.length == 0 then return 0 end
local floor = following(log['last-generated-id'])
for name, group in pairs(groups()) do
  local need = following(group['last-delivered-id'])
  local open = redis.call('XPENDING', events, name)
  if open[1] > 0 then need = open[2] end
  local _, _, _, replays = kept(name)
  local replayed = redis.call('ZRANGE', replays, 0, 0)[1]
  if replayed and before(id_of(replayed), need) then need = id_of(replayed) end
  if before(need, floor) then floor = need end
end
local cut = string.format('%.0f-0', math.max(0, now() - tonumber(ARGV[1])))
if before(floor, cut) then cut = floor end
local gone = redis.call('XTRIM', events, 'MINID', '~', cut, 'LIMIT', 10000)
local length = log.length - gone
local size = size_of(events)
local over = size - tonumber(ARGV[2])
if over > 0 and length > 0 then
  local many = math.min(10000, math.ceil(over / (size / length)) + 100)
  gone = gone + redis.call('XTRIM', events, 'MINID', '~', floor, 'LIMIT', many)
end
-- What was told of entries that are gone is never asked for again.
if gone > 0 then
  local first = stream()['recorded-first-entry-id']:match('^%d+')
  redis.call('ZREMRANGEBYSCORE', unreadable, '-inf', '(' .. first)
end
return gone
