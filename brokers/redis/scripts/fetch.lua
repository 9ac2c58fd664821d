-- Bodies of deliveries that wait behind others. ARGV: group, places. Answers for each its body, or
-- its entry's fields, or nothing where it is gone.
local _, waiting = kept(ARGV[1])
local answer = {}
for i = 2, #ARGV do
  local body = redis.call('HGET', waiting, ARGV[i])
  if not body or body == '' then
    local entry = redis.call('XRANGE', events, id_of(ARGV[i]), id_of(ARGV[i]))[1]
    body = entry and entry[2] or false
  end
  answer[#answer + 1] = body
end
return answer
