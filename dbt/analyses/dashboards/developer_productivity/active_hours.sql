-- One row per local day, hour and project in which a session's main thread was active. A session active in
-- two hours is in two rows: the sum over hours counts session hours, not sessions.
with

messages as (
    select * from {{ ref('fct_messages') }}
    where not is_sidechain
),

projects as (
    select * from {{ ref('dim_projects') }}
),

dates as (
    select * from {{ ref('dim_date') }}
),

active_hours as (
    select
        ---------- attributes
        projects.project_path,
        dates.day_of_week,
        messages.hour_of_day_local,

        ---------- measures
        cast(count(distinct messages.session_key) as bigint) as session_hour_count,
        cast(count(*) as bigint) as message_count,
        cast(sum(case when messages.is_human_prompt then 1 else 0 end) as bigint) as human_prompt_count,

        ---------- dates
        messages.occurred_date_local as activity_date
    from messages
    left join projects on messages.project_key = projects.project_key
    left join dates on messages.occurred_date_local = dates.date_day
    group by
        projects.project_path, dates.day_of_week, messages.hour_of_day_local, messages.occurred_date_local
)

select * from active_hours
