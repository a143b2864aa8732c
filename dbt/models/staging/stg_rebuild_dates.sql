with

rebuild_dates as (
    select * from {{ source('raw', '_rebuild_dates') }}
),

renamed as (
    select
        ---------- attributes
        role,

        ---------- dates
        record_date
    from rebuild_dates
)

select * from renamed
