-- A view: an increment has a dozen rows to sum up, and a table costs it more than that.
{{ config(materialized='view') }}

with

models as (
    select * from {{ ref('int_models_resolved') }}
),

requests as (
    select * from {{ ref('int_api_requests_enriched') }}
),

model_requests as (
    select
        model_key,
        count(*) as request_count,
        sum(case when cost_status = 'unpriced' then 1 else 0 end) as unpriced_request_count,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at
    from requests
    group by model_key
),

-- Always a row for `unknown`: requests that name no model, and API errors, which no model answered.
all_models as (
    select
        model_key,
        model_name,
        model_version_name,
        model_family,
        model_prefix
    from models
    union
    select
        {{ surrogate_key(["'unknown'"]) }} as model_key,
        'unknown' as model_name,
        'unknown' as model_version_name,
        'other' as model_family,
        null as model_prefix
),

models_described as (
    select
        ---------- keys
        all_models.model_key,

        ---------- attributes
        all_models.model_name,
        all_models.model_version_name,
        all_models.model_family,
        all_models.model_prefix,

        ---------- measures
        cast(coalesce(model_requests.request_count, 0) as bigint) as request_count,
        cast(coalesce(model_requests.unpriced_request_count, 0) as bigint)
            as unpriced_request_count,
        cast(coalesce(model_requests.total_tokens, 0) as bigint) as total_tokens,
        {{ nusd_to_usd('model_requests.estimated_cost_nusd') }} as estimated_cost_usd,

        ---------- booleans
        all_models.model_prefix is not null as is_priced,

        ---------- dates and instants
        model_requests.first_used_at,
        model_requests.last_used_at
    from all_models
    left join model_requests
        on all_models.model_key = model_requests.model_key
    -- A model named only by a copy that lost is not a model in use.
    where model_requests.model_key is not null or all_models.model_name = 'unknown'
)

select * from models_described
