with

events as (
    select * from {{ ref('fct_plan_events') }}
    where plan_key is not null
),

features as (
    select * from {{ ref('agg_feature_progress') }}
),

plans as (
    select
        plan_key,
        max(project_key) as project_key,
        max(plan_name) as plan_name,
        count(distinct session_key) as session_count,
        min(case when event_type = 'plan_created' then occurred_at end) as created_at,
        min(
            case
                when event_type in ('orchestration_started', 'feature_started') then occurred_at
            end
        ) as started_at,
        max(case when event_type = 'orchestration_completed' then occurred_at end) as completed_at,
        max(occurred_at) as last_event_at
    from events
    group by plan_key
),

plan_features as (
    select
        plan_key,
        count(*) as feature_count,
        sum(case when feature_status = 'pending' then 1 else 0 end) as pending_feature_count,
        sum(case when feature_status = 'in_progress' then 1 else 0 end)
            as in_progress_feature_count,
        sum(case when feature_status = 'completed' then 1 else 0 end) as completed_feature_count,
        sum(case when feature_status = 'failed' then 1 else 0 end) as failed_feature_count,
        sum(failure_count) as failure_count,
        sum(case when feature_duration_ms is not null then 1 else 0 end) as timed_feature_count,
        sum(feature_duration_ms) as feature_duration_ms,
        max(feature_duration_ms) as max_feature_duration_ms
    from features
    group by plan_key
),

plan_progress as (
    select
        ---------- keys
        plans.plan_key,
        plans.project_key,

        ---------- attributes
        plans.plan_name,
        case
            when plans.completed_at is not null then 'completed'
            when plans.started_at is not null then 'in_progress'
            else 'pending'
        end as plan_status,

        ---------- measures
        cast(plans.session_count as bigint) as session_count,
        cast(coalesce(plan_features.feature_count, 0) as bigint) as feature_count,
        cast(coalesce(plan_features.pending_feature_count, 0) as bigint) as pending_feature_count,
        cast(coalesce(plan_features.in_progress_feature_count, 0) as bigint)
            as in_progress_feature_count,
        cast(coalesce(plan_features.completed_feature_count, 0) as bigint)
            as completed_feature_count,
        cast(coalesce(plan_features.failed_feature_count, 0) as bigint) as failed_feature_count,
        cast(coalesce(plan_features.failure_count, 0) as bigint) as failure_count,
        cast(coalesce(plan_features.timed_feature_count, 0) as bigint) as timed_feature_count,
        cast(plan_features.feature_duration_ms as bigint) as feature_duration_ms,
        cast(
            round(
                cast(plan_features.feature_duration_ms as double)
                / nullif(plan_features.timed_feature_count, 0)
            )
            as bigint
        ) as mean_feature_duration_ms,
        plan_features.max_feature_duration_ms,
        cast(plan_features.completed_feature_count as double)
        / nullif(plan_features.feature_count, 0)
            as completion_ratio,

        ---------- dates and instants
        plans.created_at,
        plans.started_at,
        plans.completed_at,
        plans.last_event_at
    from plans
    left join plan_features
        on plans.plan_key = plan_features.plan_key
)

select * from plan_progress
