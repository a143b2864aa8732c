-- A usage limit stopped work within the newest two days.
with

thresholds as (
    select * from {{ ref('alert_thresholds') }}
),

billing_blocks as (
    select * from {{ ref('agg_billing_blocks') }}
    where has_hit_limit
),

daily_summary as (
    select * from {{ ref('agg_daily_summary') }}
),

newest_day as (
    select max(date_day) as date_day from daily_summary
),

measurements as (
    select
        cast(billing_blocks.block_started_at as {{ string_type() }}) as subject_name,
        1 as measured_value,
        cast(billing_blocks.block_started_at as date) as measured_date
    from billing_blocks
    inner join newest_day
        on cast(billing_blocks.block_started_at as date) >= newest_day.date_day - interval '1' day
),

firings as (
    {{ alert_firings('alert_usage_limit_reached', 'blocks') }}
)

select * from firings
