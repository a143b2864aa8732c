with

sessions as (
    select * from {{ ref('int_sessions_computed') }}
),

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

annotations as (
    select * from {{ ref('int_annotations_settled') }}
    where is_current
),

-- A wait for permission lasts until the next sign of life of the same thread. What shares its instant, as the call
-- that it is about does, came before it.
hook_sequence as (
    select
        session_key,
        agent_id,
        agent_type,
        event_name,
        event_detail,
        model_name,
        hook_event_key,
        occurred_at,
        lead(occurred_at) over (
            partition by session_key, coalesce(agent_id, '')
            order by
                occurred_at asc nulls last,
                case when event_name = 'PermissionRequest' then 1 else 0 end asc nulls last,
                hook_event_key asc nulls last
        ) as next_occurred_at
    from hook_events
    where event_name <> 'Notification'
),

session_hooks as (
    select
        session_key,
        {{ first_value_by(
            'event_detail', ['occurred_at', 'hook_event_key'], "event_name = 'SessionStart'"
        ) }} as start_source,
        {{ first_value_by(
            'model_name', ['occurred_at', 'hook_event_key'], 'model_name is not null'
        ) }} as start_model_name,
        -- The last end counts: a resumed session ends again.
        {{ last_value_by(
            'event_detail', ['occurred_at', 'hook_event_key'], "event_name = 'SessionEnd'"
        ) }} as end_reason,
        sum(case when event_name = 'PreCompact' then 1 else 0 end) as compaction_count,
        count(
            distinct case
                -- What Claude Code asks beside the conversation stops too, with an empty type. Older versions name none.
                when
                    event_name in ('SubagentStart', 'SubagentStop')
                    and coalesce(agent_type, 'unknown') <> ''
                    then agent_id
            end
        ) as subagent_count,
        sum(case when event_name = 'PermissionRequest' then 1 else 0 end)
            as permission_request_count,
        sum(
            case
                when event_name = 'PermissionRequest' and next_occurred_at is not null
                    then {{ milliseconds_between('occurred_at', 'next_occurred_at') }}
            end
        ) as permission_wait_ms,
        sum(case when event_name = 'StopFailure' then 1 else 0 end) as stop_failure_count,
        count(*) as hook_event_count
    from hook_sequence
    group by session_key
),

session_notifications as (
    select
        session_key,
        count(*) as notification_count
    from hook_events
    where event_name = 'Notification'
    group by session_key
),

session_annotations as (
    select
        session_key,
        max(case when event_type = 'rated' then rating end) as rating,
        max(case when event_type = 'rated' then occurred_at end) as rated_at,
        sum(case when event_type = 'tag_added' then 1 else 0 end) as tag_count,
        sum(case when event_type = 'noted' then 1 else 0 end) as note_count,
        sum(case when event_type = 'noted' then note_char_count end) as note_char_count
    from annotations
    group by session_key
),

sessions_dated as (
    select
        sessions.*,
        session_hooks.start_source,
        session_hooks.end_reason,
        session_hooks.start_model_name,
        session_hooks.compaction_count as hook_compaction_count,
        session_hooks.subagent_count as hook_subagent_count,
        session_hooks.hook_event_count,
        session_hooks.permission_request_count,
        session_hooks.permission_wait_ms,
        session_hooks.stop_failure_count,
        session_notifications.notification_count,
        session_annotations.rating,
        session_annotations.rated_at,
        session_annotations.tag_count,
        session_annotations.note_count,
        session_annotations.note_char_count,
        -- What names no session, of whatever days, lasted no time.
        case
            when sessions.session_id = 'unknown' then null
            else {{ milliseconds_between('sessions.started_at', 'sessions.ended_at') }}
        end as duration_ms,
        {{ local_instant('sessions.started_at', reporting_time_zone()) }} as started_at_local
    from sessions
    left join session_hooks
        on sessions.session_key = session_hooks.session_key
    left join session_notifications
        on sessions.session_key = session_notifications.session_key
    left join session_annotations
        on sessions.session_key = session_annotations.session_key
),

sessions_described as (
    select
        ---------- keys
        session_key,
        project_key,

        ---------- ids
        session_id,

        ---------- attributes
        producer,
        start_source,
        end_reason,
        start_model_name,
        case
            when duration_ms < 60000 then 'quick'
            when duration_ms < 600000 then 'short'
            when duration_ms < 3600000 then 'medium'
            when duration_ms >= 3600000 then 'long'
        end as duration_category,
        case
            when message_count <= 5 then 'minimal'
            when message_count <= 20 then 'light'
            when message_count <= 50 then 'moderate'
            else 'heavy'
        end as activity_level,
        {{ time_of_day('extract(hour from started_at_local)') }} as time_of_day,

        ---------- measures
        duration_ms,
        message_count,
        human_prompt_count,
        assistant_message_count,
        command_count,
        interrupt_count,
        api_error_count,
        -- Whoever knows more: a transcript may be gone, and hooks may not have been there yet.
        greatest(compaction_count, coalesce(cast(hook_compaction_count as bigint), 0))
            as compaction_count,
        greatest(subagent_count, coalesce(cast(hook_subagent_count as bigint), 0))
            as subagent_count,
        request_count,
        unpriced_request_count,
        model_count,
        tool_call_count,
        failed_tool_call_count,
        tool_count,
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_read_tokens,
        total_tokens,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd,
        {{ nusd_to_usd('reported_cost_nusd') }} as reported_cost_usd,
        {{ nusd_to_usd('claude_code_cost_nusd') }} as claude_code_cost_usd,
        {{ nusd_to_usd('cache_savings_nusd') }} as cache_savings_usd,

        cast(coalesce(hook_event_count, 0) + coalesce(notification_count, 0) as bigint)
            as hook_event_count,
        cast(coalesce(permission_request_count, 0) as bigint) as permission_request_count,
        cast(permission_wait_ms as bigint) as permission_wait_ms,
        cast(coalesce(notification_count, 0) as bigint) as notification_count,
        cast(coalesce(stop_failure_count, 0) as bigint) as stop_failure_count,
        cast(rating as bigint) as rating,
        cast(coalesce(tag_count, 0) as bigint) as tag_count,
        cast(coalesce(note_count, 0) as bigint) as note_count,
        cast(coalesce(note_char_count, 0) as bigint) as note_char_count,

        ---------- booleans
        is_transcribed,
        coalesce(hook_event_count, 0) + coalesce(notification_count, 0) > 0 as is_hooked,

        ---------- dates and instants
        started_at,
        ended_at,
        rated_at,
        cast(started_at as date) as started_date,
        cast(started_at_local as date) as started_date_local
    from sessions_dated
)

select * from sessions_described
