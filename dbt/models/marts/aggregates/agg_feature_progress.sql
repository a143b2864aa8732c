with

events as (
    select * from {{ ref('fct_plan_events') }}
    where plan_key is not null and feature_id is not null
),

events_ranked as (
    select
        *,
        row_number() over (
            partition by plan_key, feature_id
            order by
                occurred_at desc nulls last,
                sequence_number desc nulls last,
                plan_event_key desc nulls last
        ) as recency_rank
    from events
),

latest_events as (
    select * from events_ranked
    where recency_rank = 1
),

features as (
    select
        plan_key,
        feature_id,
        max(project_key) as project_key,
        max(plan_name) as plan_name,
        sum(case when event_type = 'feature_started' then 1 else 0 end) as start_count,
        sum(case when event_type = 'feature_failed' then 1 else 0 end) as failure_count,
        max(dependency_count) as dependency_count,
        max(feature_description_char_count) as feature_description_char_count,
        min(case when event_type = 'feature_created' then occurred_at end) as created_at,
        min(case when event_type = 'feature_started' then occurred_at end) as started_at,
        max(case when event_type in ('feature_completed', 'feature_failed') then occurred_at end)
            as ended_at
    from events
    group by plan_key, feature_id
),

-- Both ends in one instant means that one run saw them in one step: the time is unknown, not zero.
feature_progress as (
    select
        ---------- keys
        {{ surrogate_key(['features.plan_key', 'features.feature_id']) }} as feature_key,
        features.plan_key,
        features.project_key,

        ---------- ids
        features.feature_id,

        ---------- attributes
        features.plan_name,
        case
            when latest_events.event_type = 'feature_completed' then 'completed'
            when latest_events.event_type = 'feature_failed' then 'failed'
            when latest_events.event_type = 'feature_started' then 'in_progress'
            else 'pending'
        end as feature_status,

        ---------- measures
        cast(features.start_count as bigint) as start_count,
        cast(features.failure_count as bigint) as failure_count,
        features.dependency_count,
        features.feature_description_char_count,
        case
            when
                latest_events.event_type in ('feature_completed', 'feature_failed')
                and features.ended_at > features.started_at
                then {{ milliseconds_between('features.started_at', 'features.ended_at') }}
        end as feature_duration_ms,

        ---------- dates and instants
        features.created_at,
        features.started_at,
        case
            when
                latest_events.event_type in ('feature_completed', 'feature_failed')
                then features.ended_at
        end
            as ended_at
    from features
    inner join latest_events
        on
            features.plan_key = latest_events.plan_key
            and features.feature_id = latest_events.feature_id
)

select * from feature_progress
