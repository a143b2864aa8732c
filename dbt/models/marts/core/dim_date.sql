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

request_events as (
    select * from {{ ref('int_api_request_matches') }}
),

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

-- UTC and local days together: a local day may lie one before or after.
day_pairs as (
    {%- for relation in ['messages', 'tool_usage', 'requests', 'request_events', 'hook_events'] %}
    select
        occurred_date,
        occurred_date_local
    from {{ relation }}
    union
    {%- endfor %}
    select
        cast(started_at as date) as occurred_date,
        {{ local_date('started_at') }} as occurred_date_local
    from sessions
    union
    select
        cast(ended_at as date) as occurred_date,
        {{ local_date('ended_at') }} as occurred_date_local
    from sessions
),

named_days as (
    select occurred_date as date_day from day_pairs
    where occurred_date is not null
    union
    select occurred_date_local as date_day from day_pairs
    where occurred_date_local is not null
),

newest_day as (
    {{ newest_of('named_days', 'date_day', 'run_date_local') }}
),

-- The days before 2023, when no model answered yet, and those after the build are only the ones that something
-- names, with none between: one record of a wrong clock would make all the days there.
first_day as (
    select
        coalesce(
            min(case when date_day >= cast('2023-01-01' as date) then date_day end), min(date_day)
        ) as date_day
    from named_days
),

spine_bounds as (
    select
        least(first_day.date_day, newest_day.date_day) as first_day,
        newest_day.date_day as last_day
    from first_day
    cross join newest_day
    where newest_day.date_day is not null
),

spine as (
    {{ day_spine('first_day', 'last_day', 'spine_bounds') }}
),

days as (
    select date_day from spine
    union
    select date_day from named_days
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
