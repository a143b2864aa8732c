with

published_thresholds as (
    select * from {{ ref('alert_thresholds') }}
),

overrides as (
    select * from {{ ref('stg_alert_threshold_overrides') }}
),

overrides_ranked as (
    select
        *,
        row_number() over (
            partition by alert_name
            order by threshold_value asc nulls last, severity asc nulls last
        ) as override_rank
    from overrides
),

-- Of two rows that a user states for one alert, the lower threshold holds.
own_thresholds as (
    select * from overrides_ranked
    where override_rank = 1
),

thresholds_combined as (
    select
        published_thresholds.alert_name,
        coalesce(own_thresholds.severity, published_thresholds.severity) as severity,
        coalesce(own_thresholds.threshold_value, published_thresholds.threshold_value)
            as threshold_value
    from published_thresholds
    left join own_thresholds
        on published_thresholds.alert_name = own_thresholds.alert_name
)

select * from thresholds_combined
