-- One row per session, on the local day on which it started. What names no session has no duration and is none.
with

sessions as (
    select * from {{ ref('agg_session_metrics') }}
),

projects as (
    select * from {{ ref('dim_projects') }}
),

sessions_named as (
    select
        ---------- attributes
        projects.project_path,
        sessions.activity_level,
        case sessions.duration_category
            when 'quick' then '1 under 1 min'
            when 'short' then '2 under 10 min'
            when 'medium' then '3 under 1 h'
            else '4 1 h and more'
        end as duration_range,
        case
            when sessions.changed_file_count = 0 then '0 none'
            when sessions.changed_file_count = 1 then '1 one'
            when sessions.changed_file_count <= 3 then '2 two or three'
            when sessions.changed_file_count <= 7 then '3 four to seven'
            when sessions.changed_file_count <= 15 then '4 eight to 15'
            else '5 16 and more'
        end as changed_file_range,

        ---------- measures
        1 as session_count,
        sessions.duration_ms,
        sessions.message_count,
        sessions.human_prompt_count,
        sessions.answered_prompt_count,
        sessions.response_ms,
        sessions.compaction_count,
        sessions.changed_file_count,
        sessions.estimated_cost_usd,

        ---------- dates
        sessions.started_date_local as activity_date
    from sessions
    left join projects on sessions.project_key = projects.project_key
    where sessions.duration_ms is not null
)

select * from sessions_named
