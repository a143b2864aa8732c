with

events as (
    select * from {{ ref('int_plan_events_merged') }}
),

sessions as (
    select * from {{ ref('dim_sessions') }}
),

projects as (
    select * from {{ ref('dim_projects') }}
),

-- A manifest names no session, and a plan may lie in a project without any: both keys are null then.
plan_events as (
    select
        ---------- keys
        events.plan_event_key,
        events.plan_key,
        sessions.session_key,
        projects.project_key,

        ---------- ids
        events.feature_id,

        ---------- attributes
        events.event_type,
        events.plan_name,
        events.plan_path,
        events.status as event_status,
        events.pr_url,
        events.time_source,

        ---------- measures
        events.occurrence_number as event_number,
        events.sequence_number,
        events.feature_description_char_count,
        events.verification_char_count,
        events.dependency_count,
        events.hour_of_day_local,

        ---------- booleans
        events.is_in_archive,
        events.is_in_manifest,
        events.is_in_transcript,

        ---------- dates and instants
        events.occurred_at,
        events.occurred_date,
        events.occurred_date_local
    from events
    left join sessions
        on events.session_key = sessions.session_key
    left join projects
        on events.project_key = projects.project_key
)

select * from plan_events
