-- One row per alert: what it takes to fire, and what fires now.
with

alerts as (
    select * from {{ ref('agg_alerts') }}
)

select
    ---------- attributes
    alert_name,
    severity,

    ---------- measures
    firing_count,
    highest_value,
    threshold_value,

    ---------- dates
    coalesce(newest_date, asked_date) as activity_date
from alerts
