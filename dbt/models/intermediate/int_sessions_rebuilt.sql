{{ config(materialized='table') }}

with

-- Whoever owns a fact of a rebuilt day, before or after, holds a line or a firing of it, and all of these are read.
rebuild_dates as (
    select record_date
    from {{ ref('stg_rebuild_dates') }}
    group by record_date
),

conversations as (
    select * from {{ ref('stg_conversations') }}
),

hook_events as (
    select * from {{ ref('stg_hook_events') }}
),

request_events as (
    select * from {{ ref('stg_api_request_events') }}
),

-- An event that comes or goes may hand other requests another event, on days that no line names: all of theirs.
sessions_rebuilt as (
    select conversations.session_id
    from conversations
    inner join rebuild_dates
        on conversations.record_date = rebuild_dates.record_date
    union
    select hook_events.session_id
    from hook_events
    inner join rebuild_dates
        on hook_events.record_date = rebuild_dates.record_date
    union
    select coalesce(session_id, 'unknown') as session_id
    from request_events
)

select * from sessions_rebuilt
