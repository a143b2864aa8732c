with

check_results as (
    select * from {{ ref('stg_check_results') }}
),

identified as (
    select
        ---------- keys
        {{ surrogate_key(['run_id', 'suite_name', 'check_name']) }} as check_result_key,

        ---------- ids
        run_id,

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
        occurred_date
    from check_results
)

select * from identified
