with

build_settings as (
    select * from {{ ref('stg_build_settings') }}
),

build_settings_dated as (
    select
        run_at,
        is_synthetic,
        cast(run_at as date) as run_date,
        {{ local_date('run_at') }} as run_date_local
    from build_settings
)

select * from build_settings_dated
