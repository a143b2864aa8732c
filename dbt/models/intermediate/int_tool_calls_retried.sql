{{ config(materialized='incremental', replaces='sessions') }}

with

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt_session('session_id') }}
),

tool_sequence as (
    select
        tool_call_key,
        session_id,
        tool_key,
        tool_name,
        file_path,
        occurred_at,
        lag(tool_name) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc nulls last, tool_use_id asc nulls last
        ) as previous_tool_name,
        lag(file_path) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc nulls last, tool_use_id asc nulls last
        ) as previous_file_path,
        lag(outcome) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc nulls last, tool_use_id asc nulls last
        ) as previous_outcome,
        lag(answered_at) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc nulls last, tool_use_id asc nulls last
        ) as previous_answered_at
    from tool_usage
),

-- A retry is the same tool on the same file, or a command run again, right after it failed; what one message
-- asks for side by side was asked before any of it could fail.
tool_calls_retried as (
    select
        tool_call_key,
        session_id,
        tool_key
    from tool_sequence
    where
        previous_outcome = 'error'
        and previous_answered_at <= occurred_at
        and previous_tool_name = tool_name
        and coalesce(previous_file_path, '') = coalesce(file_path, '')
)

select * from tool_calls_retried
