-- A point is judged by the hundred points before it, so what came later never changes a verdict.
with

usage_hourly as (
    select * from {{ ref('agg_usage_hourly') }}
),

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
),

sessions as (
    select * from {{ ref('dim_sessions') }}
),

hours as (
    select
        bucket_started_at,
        sum(estimated_cost_usd) as estimated_cost_usd,
        sum(total_tokens) as total_tokens,
        sum(api_error_count) as api_error_count
    from usage_hourly
    group by bucket_started_at
),

tool_hours as (
    select
        date_trunc('hour', occurred_at) as bucket_started_at,
        sum(case when outcome = 'error' then 1 else 0 end) as failed_tool_call_count,
        avg(duration_ms) as duration_ms
    from tool_calls
    group by date_trunc('hour', occurred_at)
),

points as (
    {%- for metric, column, relation in [
        ('hourly_cost_usd', 'estimated_cost_usd', 'hours'),
        ('hourly_tokens', 'total_tokens', 'hours'),
        ('hourly_api_errors', 'api_error_count', 'hours'),
        ('hourly_failed_tool_calls', 'failed_tool_call_count', 'tool_hours'),
        ('hourly_mean_tool_duration_ms', 'duration_ms', 'tool_hours'),
    ] %}
    select
        '{{ metric }}' as metric_name,
        cast(null as {{ string_type() }}) as session_key,
        cast(bucket_started_at as {{ timestamp_type() }}) as measured_at,
        cast({{ column }} as double) as measured_value
    from {{ relation }}
    where {{ column }} is not null
    union all
    {%- endfor %}
    select
        'session_cost_usd' as metric_name,
        session_key,
        started_at as measured_at,
        cast(estimated_cost_usd as double) as measured_value
    from sessions
    where estimated_cost_usd is not null and started_at is not null and session_id <> 'unknown'
),

points_compared as (
    select
        *,
        count(*) over (
            partition by metric_name
            order by measured_at asc nulls last, session_key asc nulls first
            rows between 100 preceding and 1 preceding
        ) as window_point_count,
        avg(measured_value) over (
            partition by metric_name
            order by measured_at asc nulls last, session_key asc nulls first
            rows between 100 preceding and 1 preceding
        ) as window_mean,
        stddev_samp(measured_value) over (
            partition by metric_name
            order by measured_at asc nulls last, session_key asc nulls first
            rows between 100 preceding and 1 preceding
        ) as window_deviation
    from points
),

-- Fewer than ten points before it say nothing, and neither do points that never differed.
points_scored as (
    select
        *,
        (measured_value - window_mean) / window_deviation as z_score
    from points_compared
    where window_point_count >= 10 and window_deviation > 0.000000001
),

anomalies as (
    select
        ---------- keys
        {{ surrogate_key(['metric_name', 'measured_at', 'session_key']) }} as anomaly_key,
        session_key,

        ---------- attributes
        metric_name,
        case when z_score > 0 then 'spike' else 'drop' end as anomaly_type,
        case
            when abs(z_score) > 6 then 'critical'
            when abs(z_score) > 5 then 'high'
            when abs(z_score) > 4 then 'medium'
            else 'low'
        end as severity,

        ---------- measures
        measured_value,
        window_mean,
        window_deviation,
        z_score,
        cast(window_point_count as bigint) as window_point_count,

        ---------- dates and instants
        measured_at,
        cast(measured_at as date) as measured_date
    from points_scored
    where abs(z_score) > 3
)

select * from anomalies
