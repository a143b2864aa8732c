-- A usage limit stopped work within the newest two days.
with

thresholds as (
    select * from {{ ref('alert_thresholds') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where limit_reset_at is not null
),

daily_summary as (
    select * from {{ ref('agg_daily_summary') }}
),

newest_day as (
    select max(date_day) as date_day from daily_summary
),

measurements as (
    select
        'reset at ' || cast(messages.limit_reset_at as {{ string_type() }}) as subject_name,
        count(*) as measured_value,
        min(messages.occurred_date) as measured_date
    from messages
    inner join newest_day
        on messages.occurred_date >= newest_day.date_day - interval '1' day
    group by messages.limit_reset_at
),

firings as (
    {{ alert_firings('alert_usage_limit_reached', 'messages') }}
)

select * from firings
