{{ config(materialized='table') }}

with

threads as (
    select * from {{ ref('int_session_threads_computed') }}
),

-- A session is where its main thread began: later `cd` into a subfolder does not move it. A session
-- known only by its subagents is where the first of them began.
session_folders as (
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

folders_slashed as (
    select
        session_id,
        cwd,
        started_at,
        ended_at,
        {{ slashed_path('cwd') }} as slashed_cwd
    from session_folders
),

folders_normalized as (
    select
        session_id,
        cwd,
        started_at,
        ended_at,
        {{ with_upper_drive("coalesce(nullif(slashed_cwd, ''), case when cwd is not null then '/' end)") }}
            as folder_path
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
        started_at,
        ended_at,
        case
            when {{ matches('folder_path', '^(/Users|/home|[A-Z]:/Users)/[^/]+/[.]worktrees/[^/]+') }}
                then regexp_extract(folder_path, '^((/Users|/home|[A-Z]:/Users)/[^/]+/[.]worktrees/[^/]+)', 1)
            when {{ matches('folder_path', '/([.]claude-worktrees|[.]cursor/worktrees)/[^/]+/[^/]+') }}
                then regexp_extract(folder_path, '^(.*?/([.]claude-worktrees|[.]cursor/worktrees)/[^/]+)/', 1)
            when {{ matches('folder_path', '[^/]/([.]claude/worktrees|[.]git/worktrees|[.]worktrees|[.]trees)/[^/]+') }}
                then
                    regexp_extract(
                        folder_path, '^(.*?[^/])/([.]claude/worktrees|[.]git/worktrees|[.]worktrees|[.]trees)/[^/]+', 1
                    )
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
        cwd,

        ---------- dates and instants
        started_at,
        ended_at
    from projects_named
)

select * from sessions_located
