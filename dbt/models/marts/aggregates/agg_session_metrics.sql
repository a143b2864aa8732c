with

sessions as (
    select * from {{ ref('dim_sessions') }}
),

profiles as (
    select * from {{ ref('int_sessions_profiled') }}
),

turns as (
    select * from {{ ref('int_turns_summed') }}
),

file_operations as (
    select * from {{ ref('fct_file_operations') }}
),

session_conversations as (
    select
        session_id,
        count(distinct conversation_number) as conversation_count
    from turns
    group by session_id
),

session_changes as (
    select
        session_key,
        count(distinct case when is_change then file_path end) as changed_file_count,
        count(distinct file_path) as touched_file_count,
        sum(case when is_change then 1 else 0 end) as edit_count,
        sum(added_line_count) as added_line_count,
        sum(removed_line_count) as removed_line_count
    from file_operations
    group by session_key
),

session_metrics as (
    select
        ---------- keys
        sessions.session_key,
        sessions.project_key,

        ---------- attributes
        sessions.duration_category,
        sessions.activity_level,
        sessions.time_of_day,

        ---------- measures
        sessions.duration_ms,
        coalesce(profiles.active_ms, 0) as active_ms,
        sessions.message_count,
        sessions.human_prompt_count,
        cast(coalesce(session_conversations.conversation_count, 0) as bigint)
            as conversation_count,
        sessions.request_count,
        sessions.tool_call_count,
        sessions.failed_tool_call_count,
        coalesce(profiles.retry_count, 0) as retry_count,
        cast(sessions.failed_tool_call_count as double)
        / nullif(sessions.tool_call_count, 0) as tool_failure_ratio,
        cast(coalesce(profiles.retry_count, 0) as double)
        / nullif(sessions.tool_call_count, 0) as retry_ratio,
        sessions.compaction_count,
        sessions.subagent_count,
        coalesce(profiles.answered_prompt_count, 0) as answered_prompt_count,
        profiles.response_ms,
        profiles.median_response_ms,
        profiles.first_context_tokens,
        profiles.last_context_tokens,
        profiles.max_context_tokens,
        profiles.max_context_tokens - profiles.first_context_tokens as context_growth_tokens,
        sessions.permission_request_count,
        sessions.permission_wait_ms,
        cast(coalesce(session_changes.touched_file_count, 0) as bigint) as touched_file_count,
        cast(coalesce(session_changes.changed_file_count, 0) as bigint) as changed_file_count,
        cast(coalesce(session_changes.edit_count, 0) as bigint) as edit_count,
        cast(coalesce(session_changes.added_line_count, 0) as bigint) as added_line_count,
        cast(coalesce(session_changes.removed_line_count, 0) as bigint) as removed_line_count,
        -- Under a minute an hourly rate says nothing.
        case
            when sessions.duration_ms >= 60000
                then
                    cast(coalesce(session_changes.edit_count, 0) as double)
                    * 3600000
                    / sessions.duration_ms
        end as edits_per_hour,
        sessions.input_tokens,
        sessions.output_tokens,
        sessions.cache_creation_tokens,
        sessions.cache_read_tokens,
        sessions.total_tokens,
        sessions.estimated_cost_usd,
        sessions.cache_savings_usd,

        ---------- dates and instants
        sessions.started_at,
        sessions.ended_at,
        sessions.started_date,
        sessions.started_date_local
    from sessions
    left join profiles
        on sessions.session_key = profiles.session_key
    left join session_conversations
        on sessions.session_id = session_conversations.session_id
    left join session_changes
        on sessions.session_key = session_changes.session_key
)

select * from session_metrics
