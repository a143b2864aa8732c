-- A view: a run leaves a few dozen rows, and they must not make an increment rebuild anything.
{{ config(materialized='view') }}

with

check_results as (
    select * from {{ ref('int_check_results_identified') }}
),

facts as (
    select
        ---------- keys
        check_result_key,

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

select * from facts
