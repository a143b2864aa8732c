with

hook_events as (
    select * from {{ ref('stg_hook_events') }}
),

hook_events_judged as (
    select
        *,
        {{ is_mcp_tool('tool_name') }} or mcp_server_name is not null as is_mcp,
        event_name in ('PostToolUseFailure', 'StopFailure') and not is_interrupt as is_failure
    from hook_events
),

hook_events_categorized as (
    select
        ---------- keys
        {{ surrogate_key(['record_id']) }} as hook_event_key,
        {{ surrogate_key(['session_id']) }} as session_key,
        case when tool_name is not null then {{ surrogate_key(['tool_name']) }} end as tool_key,
        -- Other tools send payloads like Claude Code's, but their calls are in no transcript of ours.
        case
            when
                tool_use_id is not null and producer = 'claude-code'
                then {{ surrogate_key(['tool_use_id']) }}
        end
            as tool_call_key,

        ---------- ids
        record_id,
        session_id,
        prompt_id,
        agent_id,
        tool_use_id,

        ---------- attributes
        event_name,
        {{ hook_event_category('event_name') }} as event_category,
        event_detail,
        producer,
        source_app,
        time_source,
        permission_mode,
        effort,
        agent_type,
        model_name,
        tool_name,
        mcp_server_name,
        subagent_type,
        file_path,
        coalesce(error_type, error_marker) as error_type,
        command_name,
        nullif(
            {{ tag_if("event_name in ('PostToolUseFailure', 'StopFailure')", 'failure') }}
            || {{ tag_if('is_interrupt', 'interrupted') }}
            || {{ tag_if("event_name = 'PermissionDenied'", 'denied') }}
            || {{ tag_if(
                "event_name = 'PermissionRequest' or notification_type = 'permission_prompt'", 'waiting'
            ) }}
            || {{ tag_if('is_mcp', 'mcp') }}
            || {{ tag_if("agent_id is not null or event_name like 'Subagent%'", 'subagent') }}
            || {{ tag_if("permission_mode = 'plan'", 'plan-mode') }}
            || {{ tag_if("compact_trigger = 'auto'", 'auto') }}
            || {{ tag_if("compact_trigger = 'manual'", 'manual') }}
            || {{ tag_if("producer <> 'claude-code'", 'foreign') }},
            ''
        ) as tags,

        ---------- measures
        duration_ms,
        exit_code,
        background_task_count,
        prompt_char_count,
        tool_input_char_count,
        tool_response_char_count,
        last_message_char_count,

        ---------- booleans
        is_failure,
        is_interrupt,
        is_timed,
        agent_id is not null as is_sidechain,

        ---------- dates and instants
        occurred_at,
        cast(occurred_at as date) as occurred_date,
        record_date,

        ---------- pipeline
        _source_file,
        _source_position,
        _extracted_at
    from hook_events_judged
)

select * from hook_events_categorized
