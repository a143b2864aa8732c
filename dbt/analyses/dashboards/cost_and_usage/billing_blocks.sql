-- One row per 5-hour block, project, model and thread kind: the block is the account's, its cost is split.
-- Blocks start and end at full hours, so hours fall into them whole.
with

blocks as (
    select * from {{ ref('agg_billing_blocks') }}
),

usage_hourly as (
    select * from {{ ref('agg_usage_hourly') }}
    where request_count > 0
),

projects as (
    select * from {{ ref('dim_projects') }}
),

models as (
    select * from {{ ref('dim_models') }}
),

-- Inner join: every request lies in exactly one block, and a block without requests does not exist.
block_usage as (
    select
        ---------- attributes
        projects.project_path,
        models.model_name,

        ---------- measures
        usage_hourly.request_count,
        usage_hourly.total_tokens,
        usage_hourly.estimated_cost_usd,
        -- Under a minute an hourly rate says nothing, as in agg_billing_blocks.
        case when blocks.request_span_ms >= 60000 then blocks.request_span_ms / 3600000.0 end
            as request_span_hours,

        ---------- booleans
        usage_hourly.is_sidechain,

        ---------- dates and instants
        cast(blocks.block_started_at as date) as activity_date,
        blocks.block_started_at
    from usage_hourly
    inner join blocks
        on
            usage_hourly.bucket_started_at >= blocks.block_started_at
            and usage_hourly.bucket_started_at < blocks.block_ends_at
    left join projects on usage_hourly.project_key = projects.project_key
    left join models on usage_hourly.model_key = models.model_key
)

select * from block_usage
