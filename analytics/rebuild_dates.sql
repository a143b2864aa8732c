-- Which days a changed day reaches: what the incremental models rebuild, and what they read for it.
--
-- One row per (record_date, role). A fact is *replaced* when its own day is a `rebuild` day, and
-- computed from lines whose day is a `read` day. Whole days are replaced, so the result is that of a
-- full refresh. A fact depends on the lines of its entity (an API response by its id, a user line by
-- its uuid, a tool call by its id) wherever their copies lie, and on when the sessions that hold
-- copies began and ended (owner, project). So with
--
--   touched session   a session with a line on a changed day
--   touched entity    an entity with a line in a touched session
--
--   rebuild = changed days
--           + days of every line of a touched session  (its start, end or project may have moved)
--           + days of every line of a touched entity   (its owner, hence its day, may have moved)
--             and of the tool calls that a touched message makes
--   read    = rebuild
--           + days of every line of an entity that has a line on a rebuild day
--             (the rest of a rebuilt day is written again, so it must be read whole)
--
-- Reads raw._dirty_dates and raw._entities, which hold ids as 64-bit hashes: a collision could only
-- rebuild a day too many. Removed rows and changed settings reach days that no row names: those ask
-- for a full refresh instead.
with changed_dates as (
    select distinct record_date from raw._dirty_dates
),

touched_sessions as (
    select distinct session_hash from raw._entities where record_date in (select record_date from changed_dates)
),

touched_messages as (
    select distinct message_hash
    from raw._entities
    where message_hash is not null and session_hash in (select session_hash from touched_sessions)
),

touched_tools as (
    select distinct tool_hash
    from raw._entities
    where
        tool_hash is not null
        and (
            session_hash in (select session_hash from touched_sessions)
            or message_hash in (select message_hash from touched_messages)
        )
),

rebuild_lines as (
    select record_date, fact_date
    from raw._entities
    where
        session_hash in (select session_hash from touched_sessions)
        or message_hash in (select message_hash from touched_messages)
        or tool_hash in (select tool_hash from touched_tools)
),

rebuild_dates as (
    select record_date from changed_dates
    union
    select record_date from rebuild_lines
    union
    select fact_date from rebuild_lines
),

rebuilt as (
    select message_hash, tool_hash
    from raw._entities
    where
        record_date in (select record_date from rebuild_dates)
        or fact_date in (select record_date from rebuild_dates)
),

read_dates as (
    select record_date from rebuild_dates
    union
    select record_date
    from raw._entities
    where
        message_hash in (select message_hash from rebuilt where message_hash is not null)
        or tool_hash in (select tool_hash from rebuilt where tool_hash is not null)
)

select record_date, 'rebuild' as role from rebuild_dates
union all
select record_date, 'read' as role from read_dates
