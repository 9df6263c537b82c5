"""Lua scripts for a thread's stream, each atomic: append, restore, remove, find.

An entry is a batch of events of one run; it has the id of its last event. Its fields:
`n` number of events, `e` the batch, `a` attempt (`OVER` after the run's end), `b`
number of the batch in its attempt, `p` id of the run's event before the batch, `g`
generation of the thread, `o` how the run ends with this batch, `k` and `t` total number
and bytes of the events up to this batch, `fk` and `ft` how many of these were known to
be gone, `s` number (`seq`) of its last event.
"""

from __future__ import annotations

# In place of an attempt: the run is over, and no more of its events are published.
OVER = 2**31
# Published in place of a batch: the thread was deleted; events were added again.
GONE = b"gone"
RESTORED = b"restored"
# The result of `APPEND` if the stream has lost entries that its writer added.
LOST = b"lost"
# How many event numbers are skipped if Redis has lost a thread's events, since the last
# numbers that were used may not be in Postgres.
SEQ_JUMP = 1000
# How a run ends with an entry: not at all, by its worker, by another process.
GOES_ON, ENDED_HERE, ENDED_BY_OTHERS = 0, 1, 2

_FUNCTIONS = """
local key = KEYS[1]
local function field(entry, name)
    local fields = entry[2]
    for i = 1, #fields, 2 do
        if fields[i] == name then return fields[i + 1] end
    end
end
local function number(entry, name)
    return tonumber(field(entry, name) or 0)
end
local function run_of(entry)
    return string.sub(field(entry, 'e'), 1, 36)
end
local function parts(id)
    local ms, seq = string.match(id, '(%d+)-(%d+)')
    return tonumber(ms), tonumber(seq)
end
local function id_of(ms, seq)
    return string.format('%.0f-%.0f', ms, seq)
end
local function newest_first(start, visit)
    -- Until `visit` answers true, or many were seen.
    local before, seen = start, 0
    while seen < 64 do
        local page = redis.call('XREVRANGE', key, before, '-', 'COUNT', 4)
        for _, entry in ipairs(page) do
            if visit(entry) then return end
        end
        if #page < 4 then return end
        before, seen = '(' .. page[4][1], seen + 4
    end
end
"""

# KEYS: stream. ARGV: channel; batch; number of its events; run; attempt; number of the
# batch in its attempt; id of the run's event before it (empty: find it); number of events
# that were dropped before it; generation of the thread; maximum number and bytes of the
# events that are kept; TTL of the stream in ms; how the run ends with it; how long the
# events of ended runs are kept, in ms; the last number of the thread's events that is
# known to be used; the run's graph; the channel on which web processes of the version
# before listen; whether the run has published before, as far as is known; another channel
# to publish on (may be empty).
#
# Stores and publishes a batch, with ids from Redis's clock for all writers. A batch
# that was added before is not added again. Returns the ids of its first event and of
# the event before that, and the number of its last event. Returns nil if a later
# attempt has published, the run is over, or the thread was replaced, since a worker
# that has lost its connections may continue for a while. Without events, the script
# only checks whether the earlier ones still exist.
APPEND = (
    _FUNCTIONS
    + f"""
local OVER, SEQ_JUMP = {OVER}, {SEQ_JUMP}
"""
    + """
local channel, batch, count, run = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4]
local attempt, index, previous = tonumber(ARGV[5]), tonumber(ARGV[6]), ARGV[7]
local dropped, generation = tonumber(ARGV[8]), tonumber(ARGV[9])
local max_events, max_bytes = tonumber(ARGV[10]), tonumber(ARGV[11])
local life, ending, kept_ms = tonumber(ARGV[12]), ARGV[13], tonumber(ARGV[14])
local used, graph, older_channel = tonumber(ARGV[15]), ARGV[16], ARGV[17]
local has_begun = ARGV[18] == '1'
local now = redis.call('TIME')
local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)

local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if newest then
    local found = number(newest, 'g')
    if found > generation then return false end
    if found < generation and found > 0 then
        redis.call('UNLINK', key)
        newest = nil
    end
end

local known
local function is_decided(entry)
    if run_of(entry) ~= run then return false end
    local other = number(entry, 'a')
    if other == attempt and number(entry, 'b') == index and index > 0 then
        local ms, seq = parts(entry[1])
        known = {id_of(ms, seq - number(entry, 'n') + 1), field(entry, 'p'),
            field(entry, 's')}
    elseif other > attempt or other == OVER then
        known = false
    else
        return false
    end
    return true
end
local is_lost = false
if previous ~= '' then
    local later = redis.call('XRANGE', key, previous, '+', 'COUNT', 32)
    local is_there = later[1] ~= nil and later[1][1] == previous
    for i = is_there and 2 or 1, #later do
        if is_decided(later[i]) then return known end
    end
    if not is_there then return 'lost' end
    if count == 0 then return {previous, previous, ARGV[15]} end
else
    newest_first('+', function(entry)
        if is_decided(entry) then return true end
        if run_of(entry) == run then
            previous = entry[1]
            return true
        end
    end)
    if known ~= nil then return known end
    is_lost = previous == '' and has_begun
end

local ms, seq = now_ms, 0
for _, id in ipairs({newest and newest[1] or '0-0', previous}) do
    local last_ms, last_seq = parts(id)
    if last_ms and (last_ms > ms or last_ms == ms and last_seq >= seq) then
        ms, seq = last_ms, last_seq + 1
    end
end
if dropped > 0 or is_lost then
    -- What is missing gets ids, too, so that viewers can tell.
    seq = seq + math.max(dropped, 1)
    previous = id_of(ms, seq - 1)
elseif previous == '' then
    previous = '0-0'
end

if index == 1 then
    -- A run begins: those that ended long ago go.
    newest_first(id_of(now_ms - kept_ms, 0), function(entry)
        if field(entry, 'o') == '1' then
            local end_ms, end_seq = parts(entry[1])
            redis.call('XTRIM', key, 'MINID', id_of(end_ms, end_seq + 1))
            return true
        end
    end)
end
if newest then
    used = math.max(used, number(newest, 's'))
elseif used > 0 then
    used = used + SEQ_JUMP
end
local last_number = string.format('%.0f', used + dropped + count)
local total, bytes, gone, gone_bytes = count, #batch, 0, 0
if newest then
    total, bytes = total + number(newest, 'k'), bytes + number(newest, 't')
    gone, gone_bytes = number(newest, 'fk'), number(newest, 'ft')
end
while total - gone > max_events or bytes - gone_bytes > max_bytes do
    local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
    if not oldest then
        gone, gone_bytes = total - count, bytes - #batch
        break
    end
    gone = number(oldest, 'k') - number(oldest, 'n')
    gone_bytes = number(oldest, 't') - #field(oldest, 'e')
    if total - gone > max_events or bytes - gone_bytes > max_bytes then
        redis.call('XDEL', key, oldest[1])
        gone, gone_bytes = number(oldest, 'k'), number(oldest, 't')
    end
end

local first = id_of(ms, seq)
redis.call('XADD', key, id_of(ms, seq + count - 1), 'n', count, 'e', batch,
    'a', ending == '0' and attempt or OVER, 'b', index, 'p', previous, 'g', ARGV[9],
    'o', ending, 'k', total, 't', bytes, 'fk', gone, 'ft', gone_bytes,
    's', last_number, 'h', graph)
if ending == '1' or redis.call('PTTL', key) < life then
    redis.call('PEXPIRE', key, life)
end
local message = table.concat(
    {first, previous, ARGV[9], last_number, graph}, ' ') .. '\\n' .. batch
redis.call('PUBLISH', channel, message)
if ARGV[19] ~= '' then redis.call('PUBLISH', ARGV[19], message) end
redis.call('PUBLISH', older_channel, first .. '\\n' .. batch)
return {first, previous, last_number}
"""
)

# KEYS: stream. ARGV: channel; run; attempt; generation; TTL of the stream in ms; the
# run's graph; another channel to publish on (may be empty); then for each entry that
# the writer has added: its id, number of events, batch, number of the batch, id of the
# event before it and number of its last event. Missing entries are added again under
# their ids. Returns nil as `APPEND` does.
RESTORE = (
    _FUNCTIONS
    + """
local run, attempt, generation = ARGV[2], tonumber(ARGV[3]), ARGV[4]
local entries, is_there = redis.call('XRANGE', key, '-', '+'), {}
for _, entry in ipairs(entries) do
    is_there[entry[1]] = true
    if number(entry, 'g') > tonumber(generation) then return false end
    if run_of(entry) == run and number(entry, 'a') > attempt then return false end
end
for i = 8, #ARGV, 6 do
    if not is_there[ARGV[i]] then
        table.insert(entries, {ARGV[i], {'n', ARGV[i + 1], 'e', ARGV[i + 2],
            'a', ARGV[3], 'b', ARGV[i + 3], 'p', ARGV[i + 4], 'g', generation,
            'o', '0', 's', ARGV[i + 5], 'h', ARGV[6]}})
    end
end
table.sort(entries, function(one, other)
    local ms, seq = parts(one[1])
    local other_ms, other_seq = parts(other[1])
    return ms < other_ms or ms == other_ms and seq < other_seq
end)
redis.call('UNLINK', key)
local total, bytes = 0, 0
for _, entry in ipairs(entries) do
    total, bytes = total + number(entry, 'n'), bytes + #field(entry, 'e')
    redis.call('XADD', key, entry[1], 'n', field(entry, 'n'), 'e', field(entry, 'e'),
        'a', number(entry, 'a'), 'b', number(entry, 'b'), 'p', field(entry, 'p') or '',
        'g', number(entry, 'g'), 'o', field(entry, 'o') or '0',
        'k', total, 't', bytes, 'fk', 0, 'ft', 0, 's', field(entry, 's') or '0',
        'h', field(entry, 'h') or '')
end
redis.call('PEXPIRE', key, ARGV[5])
redis.call('PUBLISH', ARGV[1], 'restored')
if ARGV[7] ~= '' then redis.call('PUBLISH', ARGV[7], 'restored\\n' .. run) end
return 1
"""
)

# KEYS: stream. ARGV: run. Removes all of its events.
REMOVE = (
    _FUNCTIONS
    + """
local after = '-'
while true do
    local page = redis.call('XRANGE', key, after, '+', 'COUNT', 64)
    for _, entry in ipairs(page) do
        if run_of(entry) == ARGV[1] then redis.call('XDEL', key, entry[1]) end
    end
    if #page < 64 then return 1 end
    after = '(' .. page[64][1]
end
"""
)

# KEYS: stream. ARGV: a number. Returns the id of the newest entry up to that number
# (empty if there is none, or for 0), the numbers of the oldest and of the newest event,
# and the run that begins with the oldest one (empty if none does).
FIND = (
    _FUNCTIONS
    + """
local newest = redis.call('XREVRANGE', key, '+', '-', 'COUNT', 1)[1]
if not newest then return {'', '0', '0', ''} end
local oldest = redis.call('XRANGE', key, '-', '+', 'COUNT', 1)[1]
local first = string.format('%.0f', number(oldest, 's') - number(oldest, 'n') + 1)
local begins = field(oldest, 'p') == '0-0' and run_of(oldest) or ''
local last, before, wanted = field(newest, 's') or '0', '+', tonumber(ARGV[1])
while wanted > 0 do
    local page = redis.call('XREVRANGE', key, before, '-', 'COUNT', 64)
    for _, entry in ipairs(page) do
        if number(entry, 's') <= wanted then
            return {entry[1], first, last, begins}
        end
    end
    if #page < 64 then break end
    before = '(' .. page[64][1]
end
return {'', first, last, begins}
"""
)
