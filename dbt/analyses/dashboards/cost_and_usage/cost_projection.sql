-- One row per period up to the newest request: what it cost so far and would cost at that pace.
with

projections as (
    select * from {{ ref('agg_cost_projection') }}
)

select
    ---------- attributes
    period_type,

    ---------- measures
    request_count,
    unpriced_request_count,
    total_tokens,
    estimated_cost_usd,
    projected_cost_usd,

    ---------- dates
    cast(newest_request_at as date) as activity_date
from projections
