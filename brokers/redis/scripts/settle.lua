-- Settles deliveries of one consumer, with their replies, in one step. ARGV: group, consumer, how
-- many entries to acknowledge and their ids, how many deliveries from beside the stream that are
-- done and their places, then what has more to it, each as kind, place and so on (see below).
-- Answers {-1} where the consumer does not count any more; else for each of the last the ids of its
-- replies, or nothing where the delivery was not this consumer's.
local group, me = ARGV[1], ARGV[2]
if not alive(me) then return {-1} end
local retries, waiting, handed_out, replays = kept(group)
local at = 4
local last = 3 + tonumber(ARGV[3])
while at <= last do
  local chunk = math.min(last, at + 999)
  redis.call('XACK', events, group, unpack(ARGV, at, chunk))
  at = chunk + 1
end
last = at + tonumber(ARGV[at])
at = at + 1

local function over(place)
  redis.call('HDEL', waiting, place)
  redis.call('ZREM', replays, place)
end

-- Whether the delivery is this consumer's and not settled: it is not in flight from here on.
local function take(place)
  if redis.call('HGET', handed_out, place) == me then
    redis.call('HDEL', handed_out, place)
    return true
  end
  local id = place:find('-') and place or id_of(place)
  local open = redis.pcall('XPENDING', events, group, id, id, 1)
  if open.err or not open[1] or open[1][2] ~= me then return false end
  redis.call('XACK', events, group, id)
  return true
end

while at <= last do
  if redis.call('HGET', handed_out, ARGV[at]) == me then
    redis.call('HDEL', handed_out, ARGV[at])
    over(ARGV[at])
  end
  at = at + 1
end

local answers = {}
while at <= #ARGV do
  local kind, place = ARGV[at], ARGV[at + 1]
  local mine = take(place)
  local answer = false
  at = at + 2
  if kind == 'done' then
    -- count of replies, and for each how many fields and values, and those
    local count = tonumber(ARGV[at])
    at = at + 1
    if mine then
      answer = {}
      over(place)
    end
    for i = 1, count do
      local final = at + tonumber(ARGV[at])
      if mine then
        answer[i] = redis.call('XADD', events, '*', unpack(ARGV, at + 1, final))
      end
      at = final + 1
    end
  elseif kind == 'retry' then
    -- milliseconds from now, body
    if mine then
      answer = {}
      redis.call('HSET', waiting, place, ARGV[at + 1])
      redis.call('ZADD', retries, now() + tonumber(ARGV[at]), place)
      redis.call('ZREM', replays, place)
    end
    at = at + 2
  else
    -- "dead", or "unreadable" with the entry's id as its place: how many fields and values, and those
    local final = at + tonumber(ARGV[at])
    if mine and kind == 'dead' then
      answer = {}
      over(place)
      bury(group, unpack(ARGV, at + 1, final))
    elseif mine then
      answer = {}
      -- Every trigger meets such an entry; the first one tells of it.
      if redis.call('ZADD', unreadable, 'NX', place:match('^%d+'), place) == 1 then
        bury('', unpack(ARGV, at + 1, final))
      end
    end
    at = final + 1
  end
  answers[#answers + 1] = answer
end
return answers
