with

daily_summary as (
    select * from {{ ref('agg_daily_summary') }}
),

dates as (
    select * from {{ ref('dim_date') }}
),

newest_day as (
    {{ newest_of('dates', 'date_day', 'run_date_local') }}
),

-- The last ten days, idle ones as zeros; the newest may still be going on.
days as (
    select
        daily_summary.*,
        cast(11 - row_number() over (order by daily_summary.date_day desc nulls last) as bigint)
            as day_number
    from daily_summary
    inner join newest_day
        on daily_summary.date_day <= newest_day.date_day
),

points as (
    {%- for column in [
        'estimated_cost_usd', 'total_tokens', 'request_count', 'human_prompt_count', 'session_count',
        'tool_call_count', 'failed_tool_call_count', 'api_error_count', 'edit_count', 'active_hour_count',
    ] %}
    select
        'daily_{{ column }}' as metric_name,
        cast(day_number as double) as day_number,
        date_day,
        cast({{ column }} as double) as measured_value
    from days
    where day_number >= 1
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

lines_fitted as (
    select
        metric_name,
        count(measured_value) as point_count,
        avg(measured_value) as mean_value,
        -- Through one day goes no line, of which engines say NaN or null.
        case when count(measured_value) > 1 then regr_slope(measured_value, day_number) end
            as daily_slope,
        case when count(measured_value) > 1 then regr_intercept(measured_value, day_number) end
            as intercept,
        regr_r2(measured_value, day_number) as fit_ratio,
        min(date_day) as first_day,
        max(date_day) as last_day
    from points
    group by metric_name
),

-- Flat: over the ten days the line moves by less than a tenth of the mean, or explains next to nothing.
trends as (
    select
        ---------- attributes
        metric_name,
        case
            when
                daily_slope is null
                or abs(daily_slope) * 10 <= abs(mean_value) * 0.1
                or fit_ratio < 0.3
                then 'flat'
            when daily_slope > 0 then 'rising'
            else 'falling'
        end as trend_direction,

        ---------- measures
        cast(point_count as bigint) as point_count,
        mean_value,
        daily_slope,
        fit_ratio,
        {%- for step in range(1, 6) %}
        case
            when
                daily_slope is not null
                then greatest(intercept + daily_slope * {{ 10 + step }}, 0.0)
        end
            as forecast_day_{{ step }},
        {%- endfor %}

        ---------- dates
        first_day as first_date,
        last_day as last_date
    from lines_fitted
)

select * from trends
