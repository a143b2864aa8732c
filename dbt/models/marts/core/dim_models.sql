with

models as (
    select * from {{ ref('int_models_resolved') }}
),

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
),

model_responses as (
    select
        model_key,
        count(*) as request_count,
        sum(case when cost_status = 'unpriced' then 1 else 0 end) as unpriced_request_count,
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at
    from responses
    group by model_key
),

models_described as (
    select
        ---------- keys
        models.model_key,

        ---------- attributes
        models.model_name,
        models.model_version_name,
        models.model_family,
        models.model_prefix,

        ---------- measures
        cast(coalesce(model_responses.request_count, 0) as bigint) as request_count,
        cast(coalesce(model_responses.unpriced_request_count, 0) as bigint) as unpriced_request_count,

        ---------- booleans
        models.model_prefix is not null as is_priced,

        ---------- dates and instants
        model_responses.first_used_at,
        model_responses.last_used_at
    from models
    -- inner: a model named only on lines that are no request (a copy that lost) is not a model in use.
    inner join model_responses
        on models.model_key = model_responses.model_key
)

select * from models_described
