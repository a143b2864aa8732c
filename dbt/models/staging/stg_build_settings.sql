with

build_settings as (
    select * from {{ source('raw', '_build_settings') }}
),

renamed as (
    select
        run_id,
        reporting_timezone,
        conversation_gap_minutes,
        run_at,
        is_synthetic
    from build_settings
)

select * from renamed
