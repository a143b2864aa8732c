with

usage_rules as (
    select * from {{ ref('int_usage_rules_compared') }}
),

usage_reconciliation as (
    select
        ---------- attributes
        counting_rule,

        ---------- measures
        counted_row_count,
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_read_tokens,
        input_tokens + output_tokens + cache_creation_tokens + cache_read_tokens as total_tokens,
        cast(unsure_output_count as bigint) as unsure_output_count,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd,
        {{ nusd_to_usd('reported_cost_nusd') }} as reported_cost_usd,
        {{ nusd_to_usd('estimated_where_reported_nusd') }} as estimated_where_reported_usd,

        ---------- booleans
        counting_rule = 'request_once' as is_ours
    from usage_rules
)

select * from usage_reconciliation
