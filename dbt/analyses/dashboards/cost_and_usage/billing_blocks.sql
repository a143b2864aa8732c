-- One row per 5-hour block, project, model and thread kind: the block is the account's, its cost is split.
with

blocks as (
    select * from {{ ref('agg_billing_blocks') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

projects as (
    select * from {{ ref('dim_projects') }}
),

-- Inner join: every request lies in exactly one block, and a block without requests does not exist.
block_requests as (
    select
        ---------- attributes
        projects.project_path,
        requests.model_name,

        ---------- measures
        cast(count(*) as bigint) as request_count,
        cast(sum(requests.total_tokens) as bigint) as total_tokens,
        sum(requests.estimated_cost_usd) as estimated_cost_usd,
        max(blocks.active_ms / 3600000.0) as active_hour_count,

        ---------- booleans
        requests.is_sidechain,
        blocks.has_hit_limit,

        ---------- dates and instants
        cast(blocks.block_started_at as date) as activity_date,
        blocks.block_started_at
    from requests
    inner join blocks
        on
            requests.occurred_at >= blocks.block_started_at
            and requests.occurred_at < blocks.block_ends_at
    left join projects on requests.project_key = projects.project_key
    group by
        projects.project_path, requests.model_name, requests.is_sidechain, blocks.has_hit_limit,
        blocks.block_started_at
)

select * from block_requests
