with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
),

usage_placed as (
    select
        *,
        date_trunc('hour', occurred_at) as usage_started_at
    from usage_events
),

usage_hourly as (
    select
        ---------- keys
        {{ surrogate_key(['usage_started_at', 'project_key', 'model_key', 'is_sidechain']) }} as usage_key,
        project_key,
        model_key,

        ---------- measures
        {{ usage_measures() }},

        ---------- booleans
        is_sidechain,

        ---------- dates and instants
        usage_started_at as bucket_started_at
    from usage_placed
    group by usage_started_at, project_key, model_key, is_sidechain
)

select * from usage_hourly
