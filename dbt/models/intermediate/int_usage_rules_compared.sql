-- The same usage counted by the rules that tools go by, so that a difference between two tools has a name.
with

lines_counted as (
    select * from {{ ref('int_usage_lines_counted') }}
),

requests as (
    select * from {{ ref('int_api_requests_enriched') }}
),

responses as (
    select * from requests
    where is_transcribed
),

rule_rows as (
    select
        counting_rule,
        counted_row_count,
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_read_tokens
    from lines_counted
    union all
    select
        'response_once' as counting_rule,
        1 as counted_row_count,
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens + cache_creation_1h_tokens as cache_creation_tokens,
        cache_read_tokens
    from responses
    union all
    select
        'request_once' as counting_rule,
        1 as counted_row_count,
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens + cache_creation_1h_tokens as cache_creation_tokens,
        cache_read_tokens
    from requests
    union all
    select
        'request_once_estimated_output' as counting_rule,
        1 as counted_row_count,
        input_tokens,
        estimated_output_tokens as output_tokens,
        cache_creation_5m_tokens + cache_creation_1h_tokens as cache_creation_tokens,
        cache_read_tokens
    from requests
),

rule_sums as (
    select
        counting_rule,
        cast(sum(counted_row_count) as bigint) as counted_row_count,
        cast(sum(input_tokens) as bigint) as input_tokens,
        cast(sum(output_tokens) as bigint) as output_tokens,
        cast(sum(cache_creation_tokens) as bigint) as cache_creation_tokens,
        cast(sum(cache_read_tokens) as bigint) as cache_read_tokens
    from rule_rows
    group by counting_rule
),

rule_costs as (
    select
        'request_once' as counting_rule,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        sum(known_reported_cost_nusd) as reported_cost_nusd,
        sum(case when known_reported_cost_nusd is not null then estimated_cost_nusd end)
            as estimated_where_reported_nusd,
        sum(case when usage_quality in ('placeholder', 'unknown') then 1 else 0 end)
            as unsure_output_count
    from requests
),

usage_rules_compared as (
    select
        rule_sums.*,
        rule_costs.estimated_cost_nusd,
        rule_costs.reported_cost_nusd,
        rule_costs.estimated_where_reported_nusd,
        rule_costs.unsure_output_count
    from rule_sums
    left join rule_costs
        on rule_sums.counting_rule = rule_costs.counting_rule
)

select * from usage_rules_compared
