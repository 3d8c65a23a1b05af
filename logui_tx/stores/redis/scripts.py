"""What Redis runs as one step, in Lua."""

# Of a server's name and, for each key: its view, the last number it holds, above which it gives back (or ""),
# and how long to keep it in ms. A key of another kind is nobody's who may be here.
SAVE = """
local field = 'view:' .. ARGV[1]
for i, key in ipairs(KEYS) do
  local kind = redis.call('TYPE', key).ok
  if kind ~= 'hash' and kind ~= 'none' then redis.call('DEL', key) end
  local view, held, unused_above = ARGV[4 * i - 2], tonumber(ARGV[4 * i - 1]), ARGV[4 * i]
  local reserved = math.max(tonumber(redis.call('HGET', key, 'reserved') or '0'), held)
  if unused_above ~= '' and reserved == held then reserved = tonumber(unused_above) end
  redis.call('HSET', key, field, view, 'reserved', string.format('%.0f', reserved))
  redis.call('PEXPIRE', key, ARGV[4 * i + 1])
end
"""

# Of a session's key and that of this Redis' life: how many, above which, how long in ms, and the life that
# the asker knows; nothing where that is over.
RESERVE = """
if redis.call('GET', KEYS[2]) ~= ARGV[4] then return false end
local reserved = tonumber(redis.call('HGET', KEYS[1], 'reserved') or '0')
local last = string.format('%.0f', math.max(reserved, tonumber(ARGV[2])) + tonumber(ARGV[1]))
redis.call('HSET', KEYS[1], 'reserved', last)
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return last
"""

# Of the servers' key and the life's: a server's name, and a life in case there is none. How many servers
# there are, and the life.
HEARTBEAT = """
local now = tonumber(redis.call('TIME')[1])
if ARGV[1] ~= '' then redis.call('ZADD', KEYS[1], now, ARGV[1]) end
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - 10)
redis.call('SET', KEYS[2], ARGV[2], 'NX')
return {redis.call('ZCARD', KEYS[1]), redis.call('GET', KEYS[2])}
"""
