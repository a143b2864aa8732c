-- One row per run and stage, on the day (UTC) it ran. A run is the pipeline's, not a project's.
with

pipeline_runs as (
    select * from {{ ref('fct_pipeline_runs') }}
),

stages as (
    select
        ---------- attributes
        -- The number puts stages in their order; readers of the page do not see it.
        stage_number || ' ' || stage_name as stage_step,

        ---------- measures
        1 as stage_run_count,
        case when result = 'failed' then 1 else 0 end as failed_run_count,
        coalesce(row_count, 0) as row_count,
        coalesce(rejected_count, 0) as rejected_count,
        case when stage_name = 'extract' then coalesce(row_count, 0) else 0 end as accepted_line_count,
        case when stage_name = 'extract' then coalesce(row_count, 0) + coalesce(rejected_count, 0) else 0 end
            as read_line_count,
        elapsed_ms,
        peak_memory_bytes,

        ---------- dates
        occurred_date as activity_date
    from pipeline_runs
)

select * from stages
