-- A view: a run leaves a few dozen rows, and they must not make an increment rebuild anything.
{{ config(materialized='view') }}

with

pipeline_runs as (
    select * from {{ ref('int_pipeline_runs_identified') }}
),

facts as (
    select
        ---------- keys
        pipeline_run_key,

        ---------- ids
        run_id,

        ---------- attributes
        stage_name,
        trigger_name,
        result,
        error_type,
        analytics_version,
        python_version,
        duckdb_version,
        dbt_version,

        ---------- measures
        stage_number,
        row_count,
        rejected_count,
        unit_count,
        failed_count,
        warning_count,
        elapsed_ms,
        peak_memory_bytes,

        ---------- booleans
        is_full_refresh,

        ---------- dates and instants
        occurred_at,
        occurred_date
    from pipeline_runs
)

select * from facts
