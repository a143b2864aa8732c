-- A usage limit stopped work within the newest two days.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

newest_day as (
    {{ newest_of('messages', 'occurred_date', 'run_date') }}
),

measurements as (
    select
        'reset at ' || cast(messages.limit_reset_at as {{ string_type() }}) as subject_name,
        count(*) as measured_value,
        min(messages.occurred_date) as measured_date
    from messages
    inner join newest_day
        on
            messages.occurred_date >= newest_day.occurred_date - interval '1' day
            and messages.occurred_date <= newest_day.occurred_date
    where messages.limit_reset_at is not null
    group by messages.limit_reset_at
),

firings as (
    {{ alert_firings('alert_usage_limit_reached', 'messages', is_lasting=true) }}
)

select * from firings
