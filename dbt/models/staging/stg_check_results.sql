with

records as (
    select * from {{ source('raw', 'check_results') }}
),

check_results as (
    select
        ---------- ids
        _run_id as run_id,

        ---------- attributes
        suite_name,
        check_name,
        expectation_type,
        column_name,
        severity,
        error_type,

        ---------- measures
        unexpected_count,
        checked_count,

        ---------- booleans
        is_success,

        ---------- dates and instants
        occurred_at,
        record_date as occurred_date
    from records
)

select * from check_results
