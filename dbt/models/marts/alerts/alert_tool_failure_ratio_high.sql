-- By tool, over the newest seven days; fewer than twenty judged calls say nothing.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
    where outcome in ('success', 'error')
),

newest_day as (
    {{ newest_of('tool_calls', 'occurred_date', 'run_date') }}
),

measurements as (
    select
        tool_calls.tool_name as subject_name,
        avg(case when tool_calls.is_success then 0.0 else 1.0 end) as measured_value,
        max(tool_calls.occurred_date) as measured_date
    from tool_calls
    inner join newest_day
        on
            tool_calls.occurred_date >= newest_day.occurred_date - interval '6' day
            and tool_calls.occurred_date <= newest_day.occurred_date
    group by tool_calls.tool_name
    having count(*) >= 20
),

firings as (
    {{ alert_firings('alert_tool_failure_ratio_high', 'ratio', is_lasting=true) }}
)

select * from firings
