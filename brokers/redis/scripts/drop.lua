-- Removes dead letters. ARGV: their ids. Answers how many there were.
local count = 0
for _, id in ipairs(ARGV) do
  local entry = redis.call('XRANGE', letters, id, id)[1]
  if entry then
    local trigger = named(entry[2]).letter_trigger
    redis.call('XDEL', letters, id)
    if trigger then redis.call('HINCRBY', dead, trigger, -1) end
    count = count + 1
  end
end
return count
