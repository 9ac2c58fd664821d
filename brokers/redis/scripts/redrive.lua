-- Takes a dead letter out, and delivers an event in its place. ARGV: the letter's id, its number,
-- its trigger, then the body for the trigger, or, for a letter of the broker itself, the fields of
-- an event. Answers 1; 0: no such letter; -1: its trigger is gone.
local id, number, trigger = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if trigger ~= '' and redis.call('HEXISTS', triggers, trigger) == 0 then return -1 end
if redis.call('XDEL', letters, id) == 0 then return 0 end
redis.call('HINCRBY', dead, trigger, -1)
if trigger == '' then
  redis.call('XADD', events, '*', unpack(ARGV, 4))
  return 1
end
local retries, waiting = kept(trigger)
-- A place of its own, which no entry has: Redis gives no such high sequence by itself.
local place = string.format('%013.0f%06.0f', now(), 500000 + number % 500000)
redis.call('HSET', waiting, place, ARGV[4])
redis.call('ZADD', retries, now(), place)
return 1
