with

turns as (
    select * from {{ ref('int_turns_summed') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

conversation_sums as (
    select
        session_id,
        conversation_number,
        coalesce(max(start_reason), 'session') as start_reason,
        {{ first_value_by('task_category', ['turn_number'], 'turn_start_count = 1') }}
            as task_category,
        sum(turn_start_count) as human_prompt_count,
        sum(request_count) as request_count,
        sum(tool_call_count) as tool_call_count,
        sum(failed_tool_call_count) as failed_tool_call_count,
        max(max_context_tokens) as max_context_tokens,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        min(started_at) as started_at,
        max(ended_at) as ended_at
    from turns
    group by session_id, conversation_number
),

conversations as (
    select
        ---------- keys
        {{ surrogate_key(
            ['conversation_sums.session_id', 'conversation_sums.conversation_number']
        ) }} as conversation_key,
        {{ surrogate_key(['conversation_sums.session_id']) }} as session_key,
        sessions.project_key,

        ---------- attributes
        conversation_sums.start_reason,
        conversation_sums.task_category,

        ---------- measures
        conversation_sums.conversation_number,
        {{ milliseconds_between('conversation_sums.started_at', 'conversation_sums.ended_at') }}
            as duration_ms,
        cast(conversation_sums.human_prompt_count as bigint) as human_prompt_count,
        cast(conversation_sums.request_count as bigint) as request_count,
        cast(conversation_sums.tool_call_count as bigint) as tool_call_count,
        cast(conversation_sums.failed_tool_call_count as bigint) as failed_tool_call_count,
        cast(conversation_sums.max_context_tokens as bigint) as max_context_tokens,
        cast(conversation_sums.output_tokens as bigint) as output_tokens,
        cast(conversation_sums.total_tokens as bigint) as total_tokens,
        {{ nusd_to_usd('conversation_sums.estimated_cost_nusd') }} as estimated_cost_usd,

        ---------- dates and instants
        conversation_sums.started_at,
        conversation_sums.ended_at,
        cast(conversation_sums.started_at as date) as started_date
    from conversation_sums
    left join sessions
        on conversation_sums.session_id = sessions.session_id
)

select * from conversations
