-- Hands settled entries out again. ARGV: group, ids. What is not settled is on its way anyway.
-- Answers how many; -1 where the trigger is gone.
local group = ARGV[1]
local found = groups()[group]
if not found then return -1 end
local retries, waiting, handed_out, replays = kept(group)
local first = stream()['recorded-first-entry-id']
local read = found['last-delivered-id']
local at, count = now(), 0
for i = 2, #ARGV do
  local id = ARGV[i]
  if not before(read, id) and not before(id, first) then
    local place = place_of(id)
    if redis.call('HEXISTS', waiting, place) == 0
        and #redis.call('XPENDING', events, group, id, id, 1) == 0 then
      redis.call('HSET', waiting, place, '')
      redis.call('ZADD', retries, at, place)
      redis.call('ZADD', replays, tonumber(place:sub(1, 13)), place)
      count = count + 1
    end
  end
end
return count
