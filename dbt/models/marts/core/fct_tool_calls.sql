{{ config(materialized='incremental') }}

with

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt('occurred_date') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

tool_calls as (
    select
        ---------- keys
        tool_usage.tool_call_key,
        tool_usage.session_key,
        sessions.project_key,
        tool_usage.tool_key,
        -- A response and its message have one key: both are made from the response's id.
        tool_usage.message_key as request_key,

        ---------- ids
        tool_usage.tool_use_id,
        tool_usage.agent_id,
        tool_usage.result_agent_id,

        ---------- attributes
        tool_usage.tool_name,
        tool_usage.outcome,
        tool_usage.error_type,
        tool_usage.duration_source,
        tool_usage.subagent_type,
        tool_usage.skill_name,

        ---------- measures
        tool_usage.duration_ms,
        tool_usage.exit_code,
        tool_usage.input_char_count,
        tool_usage.result_char_count,
        tool_usage.hour_of_day_local,

        ---------- booleans
        tool_usage.outcome = 'success' as is_success,
        tool_usage.is_sidechain,
        tool_usage.is_transcribed,
        tool_usage.is_hooked,

        ---------- dates and instants
        tool_usage.occurred_at,
        tool_usage.answered_at,
        tool_usage.occurred_date,
        tool_usage.occurred_date_local
    from tool_usage
    left join sessions
        on tool_usage.session_id = sessions.session_id
)

select * from tool_calls
