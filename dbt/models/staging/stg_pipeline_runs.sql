with

records as (
    select * from {{ source('raw', 'pipeline_runs') }}
),

pipeline_runs as (
    select
        ---------- ids
        _run_id as run_id,

        ---------- attributes
        stage as stage_name,
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
        record_date as occurred_date
    from records
)

select * from pipeline_runs
