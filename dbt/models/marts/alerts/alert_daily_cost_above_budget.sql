-- The newest day and the one before it, so that what midnight cut off still fires.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

daily_summary as (
    select * from {{ ref('agg_daily_summary') }}
),

dates as (
    select * from {{ ref('dim_date') }}
),

newest_day as (
    {{ newest_of('dates', 'date_day', 'run_date_local') }}
),

measurements as (
    select
        cast(daily_summary.date_day as {{ string_type() }}) as subject_name,
        daily_summary.estimated_cost_usd as measured_value,
        daily_summary.date_day as measured_date
    from daily_summary
    inner join newest_day
        on
            daily_summary.date_day >= newest_day.date_day - interval '1' day
            and daily_summary.date_day <= newest_day.date_day
),

firings as (
    {{ alert_firings('alert_daily_cost_above_budget', 'usd') }}
)

select * from firings
