with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
),

usage_placed as (
    select
        *,
        cast(date_trunc('month', occurred_date_local) as date) as month_start_date
    from usage_events
),

usage_monthly as (
    select
        ---------- keys
        {{ surrogate_key(['month_start_date', 'project_key', 'model_key', 'is_sidechain']) }} as usage_key,
        project_key,
        model_key,

        ---------- measures
        {{ usage_measures() }},

        ---------- booleans
        is_sidechain,

        ---------- dates
        month_start_date
    from usage_placed
    group by month_start_date, project_key, model_key, is_sidechain
)

select * from usage_monthly
