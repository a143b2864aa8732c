-- Requests of a model of the newest seven days have no price or no token counts: totals of cost leave it out.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

newest_day as (
    {{ newest_of('requests', 'occurred_date', 'run_date') }}
),

measurements as (
    select
        requests.model_name as subject_name,
        sum(case when requests.cost_status = 'unpriced' then 1 else 0 end) as measured_value,
        max(requests.occurred_date) as measured_date
    from requests
    inner join newest_day
        on
            requests.occurred_date >= newest_day.occurred_date - interval '6' day
            and requests.occurred_date <= newest_day.occurred_date
    group by requests.model_name
),

firings as (
    {{ alert_firings('alert_requests_unpriced', 'requests', is_lasting=true) }}
)

select * from firings
