{{ config(materialized='incremental') }}

with

hook_events as (
    select * from {{ ref('int_hook_events_categorized') }}
    where {{ is_read('record_date') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

-- A firing that carries no time is filed under the day its archive was written, so that a copy of the
-- archive may file it again; the earliest stays.
hook_events_ranked as (
    select
        *,
        row_number() over (
            partition by record_id
            order by
                record_date asc nulls last,
                _source_file asc nulls last,
                _source_position asc nulls last,
                _extracted_at asc nulls last
        ) as copy_number
    from hook_events
),

hook_events_located as (
    select
        ---------- keys
        hook_events_ranked.hook_event_key,
        hook_events_ranked.session_key,
        sessions.project_key,
        hook_events_ranked.tool_key,
        hook_events_ranked.tool_call_key,

        ---------- ids
        hook_events_ranked.prompt_id,
        hook_events_ranked.agent_id,
        hook_events_ranked.tool_use_id,

        ---------- attributes
        hook_events_ranked.event_name,
        hook_events_ranked.event_category,
        hook_events_ranked.event_detail,
        hook_events_ranked.producer,
        hook_events_ranked.source_app,
        hook_events_ranked.time_source,
        hook_events_ranked.permission_mode,
        hook_events_ranked.effort,
        hook_events_ranked.agent_type,
        hook_events_ranked.model_name,
        hook_events_ranked.tool_name,
        hook_events_ranked.mcp_server_name,
        hook_events_ranked.subagent_type,
        hook_events_ranked.file_path,
        hook_events_ranked.error_type,
        hook_events_ranked.command_name,
        hook_events_ranked.tags,

        ---------- measures
        hook_events_ranked.duration_ms,
        hook_events_ranked.exit_code,
        hook_events_ranked.background_task_count,
        hook_events_ranked.prompt_char_count,
        hook_events_ranked.tool_input_char_count,
        hook_events_ranked.tool_response_char_count,
        hook_events_ranked.last_message_char_count,
        {{ local_hour_of_day('hook_events_ranked.occurred_at') }} as hour_of_day_local,

        ---------- booleans
        hook_events_ranked.is_failure,
        hook_events_ranked.is_interrupt,
        hook_events_ranked.is_sidechain,
        hook_events_ranked.is_timed,

        ---------- dates and instants
        hook_events_ranked.occurred_at,
        hook_events_ranked.occurred_date,
        {{ local_date('hook_events_ranked.occurred_at') }} as occurred_date_local
    from hook_events_ranked
    left join sessions
        on hook_events_ranked.session_id = sessions.session_id
    where hook_events_ranked.copy_number = 1
)

select * from hook_events_located
where {{ is_rebuilt('occurred_date') }}
