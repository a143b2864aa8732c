with

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
),

requests as (
    select * from {{ ref('int_api_requests_enriched') }}
),

sessions as (
    select * from {{ ref('int_sessions_computed') }}
),

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

-- UTC and local days together: a local day may lie one before or after.
day_bounds as (
    select
        min(occurred_date) as first_day,
        max(occurred_date) as last_day,
        min(occurred_date_local) as first_local_day,
        max(occurred_date_local) as last_local_day
    from messages
    union all
    select
        min(occurred_date) as first_day,
        max(occurred_date) as last_day,
        min(occurred_date_local) as first_local_day,
        max(occurred_date_local) as last_local_day
    from tool_usage
    union all
    select
        min(occurred_date) as first_day,
        max(occurred_date) as last_day,
        min(occurred_date_local) as first_local_day,
        max(occurred_date_local) as last_local_day
    from requests
    union all
    select
        min(occurred_date) as first_day,
        max(occurred_date) as last_day,
        min(occurred_date_local) as first_local_day,
        max(occurred_date_local) as last_local_day
    from hook_events
    union all
    select
        cast(min(started_at) as date) as first_day,
        cast(max(ended_at) as date) as last_day,
        {{ local_date('min(started_at)') }} as first_local_day,
        {{ local_date('max(ended_at)') }} as last_local_day
    from sessions
),

spine_bounds as (
    select
        least(min(first_day), min(first_local_day)) as first_day,
        greatest(max(last_day), max(last_local_day)) as last_day
    from day_bounds
    having min(first_day) is not null
),

days as (
    {{ day_spine('first_day', 'last_day', 'spine_bounds') }}
),

dates as (
    select
        ---------- attributes
        date_day,
        case {{ iso_weekday('date_day') }}
            when 1 then 'Monday'
            when 2 then 'Tuesday'
            when 3 then 'Wednesday'
            when 4 then 'Thursday'
            when 5 then 'Friday'
            when 6 then 'Saturday'
            else 'Sunday'
        end as day_of_week_name,

        ---------- measures
        cast(extract(year from date_day) as bigint) as calendar_year,
        cast(extract(quarter from date_day) as bigint) as calendar_quarter,
        cast(extract(month from date_day) as bigint) as month_of_year,
        cast(extract(day from date_day) as bigint) as day_of_month,
        {{ iso_weekday('date_day') }} as day_of_week,

        ---------- booleans
        {{ iso_weekday('date_day') }} >= 6 as is_weekend,

        ---------- dates
        cast(date_trunc('week', date_day) as date) as week_start_date,
        cast(date_trunc('month', date_day) as date) as month_start_date
    from days
)

select * from dates
