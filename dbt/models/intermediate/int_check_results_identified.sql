with

check_results as (
    select * from {{ ref('stg_check_results') }}
),

identified as (
    select
        {{ surrogate_key(['run_id', 'suite_name', 'check_name']) }} as check_result_key,
        *
    from check_results
)

select * from identified
