-- Keeps a dead letter of the broker itself. ARGV: the bytes above which nothing is taken (-1 = no
-- limit), then its fields and values. Answers 1; 0: the broker holds as much already.
local max_bytes = tonumber(ARGV[1])
if max_bytes >= 0 and used() >= max_bytes then return 0 end
bury('', unpack(ARGV, 2))
return 1
