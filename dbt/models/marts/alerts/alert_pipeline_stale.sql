-- Nothing happened for days as of the last run: nobody worked, or the sources are no longer read.
with

thresholds as (
    select * from {{ ref('alert_thresholds') }}
),

build_settings as (
    select * from {{ ref('int_build_settings') }}
),

sessions as (
    select * from {{ ref('dim_sessions') }}
),

measurements as (
    select
        'newest record' as subject_name,
        {{ milliseconds_between('max(sessions.ended_at)', 'max(build_settings.run_at)') }} / 3600000.0e0
            as measured_value,
        cast(max(sessions.ended_at) as date) as measured_date
    from sessions
    cross join build_settings
    having max(sessions.ended_at) is not null
),

firings as (
    {{ alert_firings('alert_pipeline_stale', 'hours') }}
)

select * from firings
