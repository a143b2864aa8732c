with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

build_settings as (
    select * from {{ ref('int_build_settings') }}
),

cost_anomalies as (
    select * from {{ ref('alert_cost_anomaly') }}
),

costly_days as (
    select * from {{ ref('alert_daily_cost_above_budget') }}
),

stale_pipelines as (
    select * from {{ ref('alert_pipeline_stale') }}
),

unpriced_models as (
    select * from {{ ref('alert_requests_unpriced') }}
),

failing_tools as (
    select * from {{ ref('alert_tool_failure_ratio_high') }}
),

reached_limits as (
    select * from {{ ref('alert_usage_limit_reached') }}
),

firings as (
    select * from cost_anomalies
    union all
    select * from costly_days
    union all
    select * from stale_pipelines
    union all
    select * from unpriced_models
    union all
    select * from failing_tools
    union all
    select * from reached_limits
),

alert_firings as (
    select
        alert_name,
        count(*) as firing_count,
        max(measured_value) as highest_value,
        max(measured_date) as newest_date
    from firings
    group by alert_name
),

alerts_measured as (
    select
        ---------- keys
        thresholds.alert_name,

        ---------- attributes
        thresholds.severity,

        ---------- measures
        thresholds.threshold_value,
        alert_firings.highest_value,
        coalesce(alert_firings.firing_count, 0) as firing_count,

        ---------- booleans
        alert_firings.firing_count is not null as is_firing,

        ---------- dates
        alert_firings.newest_date,
        build_settings.run_date_local as asked_date
    from thresholds
    cross join build_settings
    left join alert_firings
        on thresholds.alert_name = alert_firings.alert_name
)

select * from alerts_measured
