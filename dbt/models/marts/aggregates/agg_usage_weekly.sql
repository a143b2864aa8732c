with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
),

usage_placed as (
    select
        *,
        cast(date_trunc('week', occurred_date_local) as date) as week_start_date
    from usage_events
),

usage_weekly as (
    select
        ---------- keys
        {{ surrogate_key(['week_start_date', 'project_key', 'model_key', 'is_sidechain']) }} as usage_key,
        project_key,
        model_key,

        ---------- measures
        {{ usage_measures() }},

        ---------- booleans
        is_sidechain,

        ---------- dates
        week_start_date
    from usage_placed
    group by week_start_date, project_key, model_key, is_sidechain
)

select * from usage_weekly
