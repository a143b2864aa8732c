-- Requests, sessions, days, buckets and shares are the same money and the same tokens, told differently.
with

totals as (
    {%- for table in [
        'fct_api_requests', 'dim_sessions', 'dim_models', 'dim_projects', 'agg_daily_summary', 'agg_hourly_activity',
        'agg_usage_5min', 'agg_usage_hourly', 'agg_usage_daily', 'agg_usage_weekly', 'agg_usage_monthly',
        'agg_billing_blocks', 'agg_conversations', 'mart_metric_events',
    ] %}
    select
        '{{ table }}' as told_by,
        sum(estimated_cost_usd) as usd,
        sum(total_tokens) as tokens
    from {{ ref(table) }}
    union all
    {%- endfor %}
    select
        'mart_usage_reconciliation' as told_by,
        sum(estimated_cost_usd) as usd,
        sum(total_tokens) as tokens
    from {{ ref('mart_usage_reconciliation') }}
    where is_ours
    union all
    select
        'agg_cost_attribution by ' || dimension_type as told_by,
        sum(estimated_cost_usd) as usd,
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
