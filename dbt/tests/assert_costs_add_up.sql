-- Requests, sessions, days, buckets and shares are the same money and the same tokens, told differently.
with

totals as (
    select 'fct_api_requests' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('fct_api_requests') }}
    union all
    select 'dim_sessions' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('dim_sessions') }}
    union all
    select 'dim_models' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('dim_models') }}
    union all
    select 'dim_projects' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('dim_projects') }}
    union all
    select 'agg_daily_summary' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_daily_summary') }}
    union all
    select 'agg_hourly_activity' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_hourly_activity') }}
    union all
    select 'agg_usage_5min' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_usage_5min') }}
    union all
    select 'agg_usage_hourly' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_usage_hourly') }}
    union all
    select 'agg_usage_daily' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_usage_daily') }}
    union all
    select 'agg_usage_weekly' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_usage_weekly') }}
    union all
    select 'agg_usage_monthly' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_usage_monthly') }}
    union all
    select 'agg_billing_blocks' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_billing_blocks') }}
    union all
    select 'agg_conversations' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('agg_conversations') }}
    union all
    select 'mart_usage_reconciliation' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('mart_usage_reconciliation') }}
    where is_ours
    union all
    select 'mart_metric_events' as told_by, sum(estimated_cost_usd) as usd, sum(total_tokens) as tokens
    from {{ ref('mart_metric_events') }}
    union all
    select 'agg_cost_attribution by ' || dimension_type as told_by, sum(estimated_cost_usd) as usd,
        sum(total_tokens) as tokens
    from {{ ref('agg_cost_attribution') }}
    group by dimension_type
),

requests as (
    select * from totals
    where told_by = 'fct_api_requests'
),

differences as (
    select
        totals.told_by,
        totals.usd,
        totals.tokens
    from totals
    cross join requests
    where
        coalesce(totals.usd, 0) <> coalesce(requests.usd, 0)
        or coalesce(totals.tokens, 0) <> coalesce(requests.tokens, 0)
)

select * from differences
