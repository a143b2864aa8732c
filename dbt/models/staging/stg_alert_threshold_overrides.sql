with

overrides as (
    select * from {{ source('raw', 'alert_threshold_overrides') }}
),

typed_overrides as (
    select
        ---------- attributes
        alert_name,
        severity,

        ---------- measures
        cast(threshold_value as double) as threshold_value
    from overrides
)

select * from typed_overrides
