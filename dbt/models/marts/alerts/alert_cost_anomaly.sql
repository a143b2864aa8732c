-- An hour or a session of the newest two days cost far more than the hundred before it.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

anomalies as (
    select * from {{ ref('mart_anomalies') }}
    where anomaly_type = 'spike' and metric_name in ('hourly_cost_usd', 'session_cost_usd')
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

newest_day as (
    {{ newest_of('requests', 'occurred_date', 'run_date') }}
),

measurements as (
    select
        anomalies.metric_name as subject_name,
        max(anomalies.z_score) as measured_value,
        anomalies.measured_date
    from anomalies
    inner join newest_day
        on
            anomalies.measured_date >= newest_day.occurred_date - interval '1' day
            and anomalies.measured_date <= newest_day.occurred_date
    group by anomalies.metric_name, anomalies.measured_date
),

firings as (
    {{ alert_firings('alert_cost_anomaly', 'z_score') }}
)

select * from firings
