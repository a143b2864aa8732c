with

pipeline_runs as (
    select * from {{ ref('stg_pipeline_runs') }}
),

identified as (
    select
        {{ surrogate_key(['run_id', 'stage_name']) }} as pipeline_run_key,
        *
    from pipeline_runs
)

select * from identified
