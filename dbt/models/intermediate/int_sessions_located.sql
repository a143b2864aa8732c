{{ config(materialized='table') }}

{#- Where worktrees lie; see projects_named. -#}
{%- set of_home = '(/Users|/home|[A-Z]:/Users)/[^/]+/[.]worktrees/[^/]+' -%}
{%- set of_tools = '([.]claude-worktrees|[.]cursor/worktrees)/[^/]+' -%}
{%- set of_repository = '([.]claude/worktrees|[.]git/worktrees|[.]worktrees|[.]trees)/[^/]+' -%}

with

threads as (
    select * from {{ ref('int_session_threads_computed') }}
),

hook_events as (
    select * from {{ ref('stg_hook_events') }}
),

request_events as (
    select * from {{ ref('int_api_request_matches') }}
    where match_type in ('event_only', 'failed')
),

-- A session is where its main thread began: later `cd` into a subfolder does not move it. A session
-- known only by its subagents is where the first of them began.
thread_folders as (
    select
        session_id,
        coalesce(
            {{ first_value_by(
                'first_main_cwd', ['started_at', "coalesce(agent_id, '')"], 'first_main_cwd is not null'
            ) }},
            {{ first_value_by(
                'first_cwd', ['started_at', "coalesce(agent_id, '')"], 'first_cwd is not null'
            ) }}
        ) as cwd,
        min(started_at) as started_at,
        max(ended_at) as ended_at
    from threads
    group by session_id
),

-- Hooks place a session that has no transcript; where there is one, it says where. What has only a day lasts no
-- session longer.
hook_folders as (
    select
        session_id,
        coalesce(
            {{ first_value_by(
                'cwd', ['occurred_at', 'record_id'], 'cwd is not null and agent_id is null'
            ) }},
            {{ first_value_by('cwd', ['occurred_at', 'record_id'], 'cwd is not null') }}
        ) as cwd,
        {{ first_value_by('producer', ['occurred_at', 'record_id'], '1 = 1') }} as producer,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        min(case when is_timed then occurred_at end) as timed_started_at,
        max(case when is_timed then occurred_at end) as timed_ended_at
    from hook_events
    group by session_id
),

-- What only events of requests tell of has a session too, without a place.
request_sessions as (
    select
        session_id,
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at,
        min(case when is_timed then occurred_at end) as timed_started_at,
        max(case when is_timed then occurred_at end) as timed_ended_at
    from request_events
    group by session_id
),

session_ids as (
    select session_id from thread_folders
    union
    select session_id from hook_folders
    union
    select session_id from request_sessions
),

-- Lines, firings and events that name no session are together in one called unknown; no folder is theirs.
session_folders as (
    select
        session_ids.session_id,
        case
            when
                session_ids.session_id <> 'unknown'
                then coalesce(thread_folders.cwd, hook_folders.cwd)
        end as cwd,
        case
            when thread_folders.session_id is not null then 'claude-code'
            else coalesce(hook_folders.producer, 'unknown')
        end as producer,
        thread_folders.session_id is not null as is_transcribed,
        coalesce(thread_folders.started_at, hook_folders.started_at, request_sessions.started_at)
            as started_at,
        coalesce(thread_folders.ended_at, hook_folders.ended_at, request_sessions.ended_at)
            as ended_at,
        least(hook_folders.timed_started_at, request_sessions.timed_started_at)
            as event_started_at,
        greatest(hook_folders.timed_ended_at, request_sessions.timed_ended_at) as event_ended_at
    from session_ids
    left join thread_folders
        on session_ids.session_id = thread_folders.session_id
    left join hook_folders
        on session_ids.session_id = hook_folders.session_id
    left join request_sessions
        on session_ids.session_id = request_sessions.session_id
),

folders_slashed as (
    select
        session_id,
        cwd,
        producer,
        is_transcribed,
        started_at,
        ended_at,
        event_started_at,
        event_ended_at,
        {{ slashed_path('cwd') }} as slashed_cwd
    from session_folders
),

folders_normalized as (
    select
        session_id,
        cwd,
        producer,
        is_transcribed,
        started_at,
        ended_at,
        event_started_at,
        event_ended_at,
        {{ with_upper_drive(
            "coalesce(nullif(slashed_cwd, ''), case when cwd is not null then '/' end)"
        ) }} as folder_path
    from folders_slashed
),

-- Worktrees are checkouts of one repository, in the layouts that tools make:
--   <repo>/.worktrees/<x>, <repo>/.claude/worktrees/<x>, <repo>/.git/worktrees/<x>, <repo>/.trees/<x>
--   <repo>.worktrees/<x>, <repo>-worktrees/<x>
--   ~/.claude-worktrees/<repo>/<x>, ~/.cursor/worktrees/<repo>/<x>: the repository lies elsewhere, its name stays.
-- ~/.worktrees/<x> says no repository: each <x> stays a project of its own.
projects_named as (
    select
        session_id,
        cwd,
        producer,
        is_transcribed,
        started_at,
        ended_at,
        event_started_at,
        event_ended_at,
        case
            when {{ matches('folder_path', '^' ~ of_home) }}
                then regexp_extract(folder_path, '^({{ of_home }})', 1)
            when {{ matches('folder_path', '/' ~ of_tools ~ '/[^/]+') }}
                then regexp_extract(folder_path, '^(.*?/{{ of_tools }})/', 1)
            when {{ matches('folder_path', '[^/]/' ~ of_repository) }}
                then regexp_extract(folder_path, '^(.*?[^/])/{{ of_repository }}', 1)
            when {{ matches('folder_path', '[^/][.-]worktrees/[^/]+') }}
                then regexp_extract(folder_path, '^(.*?[^/])[.-]worktrees/[^/]+', 1)
            else folder_path
        end as project_path
    from folders_normalized
),

sessions_located as (
    select
        ---------- keys
        {{ surrogate_key(["coalesce(project_path, 'unknown')"]) }} as project_key,

        ---------- ids
        session_id,

        ---------- attributes
        coalesce(project_path, 'unknown') as project_path,
        {{ last_path_part("coalesce(project_path, 'unknown')") }} as project_name,
        producer,

        ---------- booleans
        is_transcribed,

        ---------- dates and instants
        started_at,
        ended_at,
        event_started_at,
        event_ended_at
    from projects_named
)

select * from sessions_located
