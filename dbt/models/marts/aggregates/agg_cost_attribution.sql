with

costs_attributed as (
    select * from {{ ref('int_costs_attributed') }}
),

-- Every session's share of a value together.
dimension_sums as (
    select
        dimension_type,
        dimension_value,
        cast(sum(request_count) as bigint) as request_count,
        cast(sum(total_tokens) as bigint) as total_tokens,
        cast(sum(estimated_cost_nusd) as bigint) as estimated_cost_nusd
    from costs_attributed
    group by dimension_type, dimension_value
),

cost_attribution as (
    select
        ---------- attributes
        dimension_type,
        dimension_value,

        ---------- measures
        request_count,
        total_tokens,
        cast(sum(total_tokens) over (partition by dimension_type) as bigint)
            as dimension_total_tokens,
        cast(total_tokens as double)
        / nullif(sum(total_tokens) over (partition by dimension_type), 0)
            as token_share_ratio,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd
    from dimension_sums
)

select * from cost_attribution
