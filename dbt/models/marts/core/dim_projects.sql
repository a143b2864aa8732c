with

sessions as (
    select * from {{ ref('int_sessions_computed') }}
),

locations as (
    select * from {{ ref('int_sessions_located') }}
),

build_settings as (
    select * from {{ ref('int_build_settings') }}
),

projects as (
    select
        project_key,
        project_path,
        project_name
    from locations
    group by project_key, project_path, project_name
),

project_sessions as (
    select
        project_key,
        count(*) as session_count,
        sum(message_count) as message_count,
        sum(tool_call_count) as tool_call_count,
        sum(request_count) as request_count,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        min(started_at) as first_seen_at
    from sessions
    group by project_key
),

-- Where a clock that is ahead tells when a session ended, it is still known when it began.
session_instants as (
    select
        project_key,
        started_at as active_at
    from sessions
    union all
    select
        project_key,
        ended_at as active_at
    from sessions
),

project_activity as (
    select
        session_instants.project_key,
        {{ newest_by('session_instants.active_at', 'build_settings.run_at') }} as last_active_at
    from session_instants
    cross join build_settings
    group by session_instants.project_key
),

-- Relative to the newest record and not to the clock, so that the same input gives the same rows.
latest_activity as (
    {{ newest_of('session_instants', 'active_at', 'run_at') }}
),

projects_described as (
    select
        ---------- keys
        projects.project_key,

        ---------- attributes
        projects.project_path,
        projects.project_name,
        case
            when
                cast(project_activity.last_active_at as date)
                >= cast(latest_activity.active_at as date)
                then 'active_today'
            when
                {{ milliseconds_between(
                    'project_activity.last_active_at', 'latest_activity.active_at'
                ) }}
                < 604800000
                then 'active_this_week'
            when
                {{ milliseconds_between(
                    'project_activity.last_active_at', 'latest_activity.active_at'
                ) }}
                < 2592000000
                then 'active_this_month'
            else 'inactive'
        end as project_status,
        case
            when project_sessions.session_count <= 3 then 'small'
            when project_sessions.session_count <= 20 then 'medium'
            else 'large'
        end as project_size,

        ---------- measures
        cast(project_sessions.session_count as bigint) as session_count,
        cast(project_sessions.message_count as bigint) as message_count,
        cast(project_sessions.tool_call_count as bigint) as tool_call_count,
        cast(project_sessions.request_count as bigint) as request_count,
        cast(project_sessions.total_tokens as bigint) as total_tokens,
        {{ nusd_to_usd('project_sessions.estimated_cost_nusd') }} as estimated_cost_usd,

        ---------- dates and instants
        project_sessions.first_seen_at,
        project_activity.last_active_at
    from projects
    inner join project_sessions
        on projects.project_key = project_sessions.project_key
    inner join project_activity
        on projects.project_key = project_activity.project_key
    cross join latest_activity
)

select * from projects_described
