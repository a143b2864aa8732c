-- One row per day, project, model and thread kind that asked the API for anything.
with

usage_daily as (
    select * from {{ ref('agg_usage_daily') }}
    where request_count > 0
),

projects as (
    select * from {{ ref('dim_projects') }}
),

models as (
    select * from {{ ref('dim_models') }}
),

usage_named as (
    select
        ---------- attributes
        projects.project_path,
        models.model_name,
        models.model_family,

        ---------- measures
        usage_daily.request_count,
        usage_daily.unpriced_request_count,
        usage_daily.input_tokens,
        usage_daily.output_tokens,
        usage_daily.cache_creation_5m_tokens + usage_daily.cache_creation_1h_tokens as cache_creation_tokens,
        usage_daily.cache_read_tokens,
        usage_daily.prompt_tokens,
        usage_daily.total_tokens,
        usage_daily.estimated_cost_usd,
        usage_daily.cache_savings_usd,

        ---------- booleans
        usage_daily.is_sidechain,

        ---------- dates
        usage_daily.date_day as activity_date
    from usage_daily
    left join projects on usage_daily.project_key = projects.project_key
    left join models on usage_daily.model_key = models.model_key
)

select * from usage_named
