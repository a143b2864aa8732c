with

firings as (
    select * from {{ source('raw', 'hook_events') }}
),

-- A firing without a time takes the start of the day it is filed under; empty ids and folders become null.
hook_events as (
    select
        ---------- ids
        record_id,
        coalesce(nullif(session_id, ''), 'unknown') as session_id,
        nullif(prompt_id, '') as prompt_id,
        nullif(agent_id, '') as agent_id,
        nullif(tool_use_id, '') as tool_use_id,
        nullif(turn_id, '') as turn_id,
        nullif(task_id, '') as task_id,

        ---------- attributes
        coalesce(nullif(event_name, ''), 'unknown') as event_name,
        event_detail,
        coalesce(producer, 'claude-code') as producer,
        source_app,
        coalesce(time_source, 'unknown') as time_source,
        nullif(cwd, '') as cwd,
        permission_mode,
        effort,
        agent_type,
        model as model_name,
        session_source,
        end_reason,
        compact_trigger,
        notification_type,
        error_type,
        nullif(tool_name, '') as tool_name,
        mcp_server_name,
        subagent_type,
        file_path,
        error_marker,
        command_name,
        memory_type,
        team_name,
        teammate_name,

        ---------- measures
        duration_ms,
        exit_code,
        background_task_count,
        session_cron_count,
        tool_call_count,
        permission_suggestion_count,
        prompt_char_count,
        tool_input_char_count,
        tool_response_char_count,
        error_char_count,
        last_message_char_count,
        message_char_count,

        ---------- booleans
        coalesce(is_interrupt, false) as is_interrupt,
        coalesce(stop_hook_active, false) as is_stop_hook_active,
        occurred_at is not null as is_timed,

        ---------- dates and instants
        coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) as occurred_at,
        record_date,

        ---------- pipeline
        _source_file,
        _source_position,
        _extracted_at,
        _run_id
    from firings
)

select * from hook_events
