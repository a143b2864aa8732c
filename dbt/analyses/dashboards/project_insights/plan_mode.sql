-- One row per session that proposed a plan in plan mode, on the day (UTC) of its first plan.
with

plan_mode as (
    select * from {{ ref('agg_plan_mode') }}
    where first_planned_at is not null
),

projects as (
    select * from {{ ref('dim_projects') }}
),

proposals as (
    select
        ---------- attributes
        projects.project_path,

        ---------- measures
        plan_mode.accepted_plan_count,
        plan_mode.refused_plan_count,
        plan_mode.open_plan_count,

        ---------- dates
        cast(plan_mode.first_planned_at as date) as activity_date
    from plan_mode
    left join projects on plan_mode.project_key = projects.project_key
)

select * from proposals
