-- One row per plan, on the day (UTC) of its last event.
with

plan_progress as (
    select * from {{ ref('agg_plan_progress') }}
),

-- A name that several projects have tells none of them apart: there the path is the title.
projects as (
    select
        project_key,
        project_path,
        case when count(*) over (partition by project_name) = 1 then project_name else project_path end as project_title
    from {{ ref('dim_projects') }}
),

plans as (
    select
        ---------- attributes
        projects.project_path,
        coalesce(projects.project_title || ' / ', '') || plan_progress.plan_name as plan_title,

        ---------- measures
        plan_progress.feature_count,
        plan_progress.completed_feature_count,
        plan_progress.in_progress_feature_count,
        plan_progress.failed_feature_count,
        plan_progress.pending_feature_count,
        plan_progress.failure_count,
        plan_progress.feature_duration_ms,
        plan_progress.timed_feature_count,

        ---------- dates
        cast(plan_progress.last_event_at as date) as activity_date
    from plan_progress
    left join projects on plan_progress.project_key = projects.project_key
    where plan_progress.last_event_at is not null
)

select * from plans
