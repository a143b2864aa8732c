with

costs_attributed as (
    select * from {{ ref('int_costs_attributed') }}
),

cost_attribution as (
    select
        ---------- attributes
        dimension_type,
        dimension_value,

        ---------- measures
        request_count,
        total_tokens,
        cast(sum(total_tokens) over (partition by dimension_type) as bigint) as dimension_total_tokens,
        cast(total_tokens as double) / nullif(sum(total_tokens) over (partition by dimension_type), 0)
            as token_share_ratio,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd
    from costs_attributed
)

select * from cost_attribution
