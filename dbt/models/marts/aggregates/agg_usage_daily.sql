with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
),

dates as (
    select * from {{ ref('dim_date') }}
),

build_settings as (
    select * from {{ ref('int_build_settings') }}
),

-- Zero-filled from the first day that the three were used together, or a chart would draw a line over idle days:
-- until the newest day of dim_date that the build has seen come; later, as a clock that is ahead tells it, only
-- until their own last day, or one record would multiply all of them.
combinations as (
    select
        project_key,
        model_key,
        is_sidechain,
        min(occurred_date_local) as first_day,
        max(occurred_date_local) as last_day
    from usage_events
    group by project_key, model_key, is_sidechain
),

grid as (
    select
        dates.date_day,
        combinations.project_key,
        combinations.model_key,
        combinations.is_sidechain
    from combinations
    cross join build_settings
    inner join dates
        on
            combinations.first_day <= dates.date_day
            and dates.date_day <= greatest(combinations.last_day, build_settings.run_date_local)
),

grid_filled as (
    select
        grid.date_day,
        grid.project_key,
        grid.model_key,
        grid.is_sidechain,
        usage_events.request_count,
        usage_events.api_error_count,
        usage_events.unpriced_request_count,
        usage_events.input_tokens,
        usage_events.output_tokens,
        usage_events.cache_creation_5m_tokens,
        usage_events.cache_creation_1h_tokens,
        usage_events.cache_read_tokens,
        usage_events.total_tokens,
        usage_events.estimated_cost_nusd,
        usage_events.reported_cost_nusd,
        usage_events.cache_savings_nusd
    from grid
    left join usage_events
        on
            grid.date_day = usage_events.occurred_date_local
            and grid.project_key = usage_events.project_key
            and grid.model_key = usage_events.model_key
            and grid.is_sidechain = usage_events.is_sidechain
),

usage_daily as (
    select
        ---------- keys
        {{ surrogate_key(['date_day', 'project_key', 'model_key', 'is_sidechain']) }} as usage_key,
        project_key,
        model_key,

        ---------- measures
        {{ usage_measures() }},

        ---------- booleans
        is_sidechain,

        ---------- dates
        date_day
    from grid_filled
    group by date_day, project_key, model_key, is_sidechain
)

select * from usage_daily
