-- Hands out deliveries whose time has come. ARGV: group, consumer, how many at most. Answers {-1}
-- where the consumer does not count any more; else in how many milliseconds the next is due (-2 =
-- there is none), and for each its place and its body, or the entry's fields where it has none.
local group, me = ARGV[1], ARGV[2]
if not alive(me) then return {-1} end
local retries, waiting, handed_out, replays = kept(group)
local answer = {-2}
for _, place in ipairs(redis.call('ZRANGEBYSCORE', retries, '-inf', now(), 'LIMIT', 0, ARGV[3])) do
  redis.call('ZREM', retries, place)
  local body = redis.call('HGET', waiting, place)
  if body == '' then
    local entry = redis.call('XRANGE', events, id_of(place), id_of(place))[1]
    body = entry and entry[2]
  end
  if body then
    redis.call('HSET', handed_out, place, me)
    answer[#answer + 1] = place
    answer[#answer + 1] = body
  else
    redis.call('HDEL', waiting, place)
    redis.call('ZREM', replays, place)
  end
end
local first = redis.call('ZRANGE', retries, 0, 0, 'WITHSCORES')
if first[2] then answer[1] = math.max(0, tonumber(first[2]) - now()) end
return answer
