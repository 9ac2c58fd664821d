-- What every script begins with. KEYS[1] is what all keys of the broker begin with: they are in
-- one slot, so that the names derived from it are on the same server.
local base = KEYS[1]
local events, letters = base .. ':events', base .. ':dead-letters'
local consumers, triggers, owners = base .. ':consumers', base .. ':triggers', base .. ':owners'
local dead, unreadable = base .. ':dead', base .. ':unreadable'

local function now()
  local t = redis.call('TIME')
  return t[1] * 1000 + math.floor(t[2] / 1000)
end

-- A consumer counts while it is in here, and once it is taken out it never comes back: what it
-- asks for then is refused.
local function alive(consumer)
  return redis.call('ZSCORE', consumers, consumer)
end

-- At its maxmemory Redis refuses a script's first write, if it may take memory, and no later one:
-- what keeps the broker going has to go through, or nothing would ever be worked off.
local function write_first()
  redis.call('ZREM', consumers, '')
end

local function place_of(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return string.format('%013.0f%06.0f', tonumber(ms), tonumber(seq))
end

local function id_of(place)
  return string.format('%.0f-%.0f', tonumber(place:sub(1, 13)), tonumber(place:sub(14)))
end

local function before(one, other)
  local ms, seq = one:match('^(%d+)-(%d+)$')
  local other_ms, other_seq = other:match('^(%d+)-(%d+)$')
  ms, other_ms = tonumber(ms), tonumber(other_ms)
  if ms ~= other_ms then return ms < other_ms end
  return tonumber(seq) < tonumber(other_seq)
end

local function following(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ms .. '-' .. string.format('%.0f', tonumber(seq) + 1)
end

local function named(flat)
  local found = {}
  for i = 1, #flat, 2 do found[flat[i]] = flat[i + 1] end
  return found
end

-- The stream as XINFO tells it; of one that is not there, what a new one would be.
local function stream()
  local told = redis.pcall('XINFO', 'STREAM', events)
  if told.err then
    return {length = 0, ['last-generated-id'] = '0-0', ['entries-added'] = 0,
            ['recorded-first-entry-id'] = '0-0'}
  end
  return named(told)
end

-- The consumer groups of our triggers, by name: what else reads the stream is not waited for.
local function groups()
  local found = {}
  local told = redis.pcall('XINFO', 'GROUPS', events)
  if told.err then return found end
  for _, flat in ipairs(told) do
    local group = named(flat)
    if redis.call('HEXISTS', triggers, group.name) == 1 then found[group.name] = group end
  end
  return found
end

local function kept(trigger)
  return base .. ':retries:' .. trigger, base .. ':waiting:' .. trigger,
    base .. ':handed-out:' .. trigger, base .. ':replays:' .. trigger
end

-- How many entries a group has not read. Redis counts what a group has read, and that count falls
-- behind when it loads its append-only file or a replica takes over: then this is an upper bound.
local function unread(group, log)
  if not before(group['last-delivered-id'], log['last-generated-id']) then return 0 end
  return math.min(group.lag or log.length, log.length)
end

-- Events that wait for the slowest trigger.
local function backlog()
  local most, log = 0, stream()
  for name, group in pairs(groups()) do
    local _, waiting = kept(name)
    most = math.max(most, unread(group, log) + group.pending + redis.call('HLEN', waiting))
  end
  return most
end

-- A new dead letter of a trigger, "" = the broker's own: its fields and values.
local function bury(trigger, ...)
  redis.call('XADD', letters, '0-*', 'letter_at', string.format('%.0f', now()), ...)
  redis.call('HINCRBY', dead, trigger, 1)
end

local function size_of(key)
  return redis.call('MEMORY', 'USAGE', key) or 0
end

-- Bytes of all that grows with the events.
local function used()
  local size = size_of(events) + size_of(letters)
  for _, name in ipairs(redis.call('HKEYS', triggers)) do
    local _, waiting = kept(name)
    size = size + size_of(waiting)
  end
  return size
end
