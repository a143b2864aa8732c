-- One row per local day, project, model, thread kind and what is known of usage and price.
with

requests as (
    select * from {{ ref('fct_api_requests') }}
),

projects as (
    select * from {{ ref('dim_projects') }}
),

request_quality as (
    select
        ---------- attributes
        projects.project_path,
        requests.model_name,
        requests.usage_quality,
        requests.cost_status,

        ---------- measures
        cast(count(*) as bigint) as request_count,
        cast(sum(case when requests.usage_quality = 'final' then 1 else 0 end) as bigint) as final_request_count,
        cast(sum(case when requests.cost_status = 'unpriced' then 0 else 1 end) as bigint) as priced_request_count,
        cast(sum(case when requests.cost_status = 'unpriced' then 1 else 0 end) as bigint)
            as unpriced_request_count,
        cast(sum(requests.total_tokens) as bigint) as total_tokens,

        ---------- booleans
        requests.is_sidechain,

        ---------- dates
        requests.occurred_date_local as activity_date
    from requests
    left join projects on requests.project_key = projects.project_key
    group by
        projects.project_path, requests.model_name, requests.usage_quality, requests.cost_status,
        requests.is_sidechain, requests.occurred_date_local
)

select * from request_quality
