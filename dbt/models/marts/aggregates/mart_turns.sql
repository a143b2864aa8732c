with

turn_parts as (
    select * from {{ ref('int_turns_summed') }}
    where turn_number > 0
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

-- A turn goes on where a conversation begins within it.
turn_sums as (
    select
        session_id,
        turn_number,
        max(turn_key) as turn_key,
        max(task_category) as task_category,
        max(case when turn_start_count = 1 then conversation_number end) as conversation_number,
        max(response_ms) as response_ms,
        sum(request_count) as request_count,
        sum(tool_call_count) as tool_call_count,
        sum(failed_tool_call_count) as failed_tool_call_count,
        sum(output_tokens) as output_tokens,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        min(started_at) as started_at,
        max(ended_at) as ended_at
    from turn_parts
    group by session_id, turn_number
),

turns as (
    select
        ---------- keys
        turn_sums.turn_key,
        {{ surrogate_key(['turn_sums.session_id', 'turn_sums.conversation_number']) }}
            as conversation_key,
        {{ surrogate_key(['turn_sums.session_id']) }} as session_key,
        sessions.project_key,

        ---------- attributes
        turn_sums.task_category,

        ---------- measures
        turn_sums.turn_number,
        turn_sums.conversation_number,
        cast(turn_sums.response_ms as bigint) as response_ms,
        {{ milliseconds_between('turn_sums.started_at', 'turn_sums.ended_at') }} as duration_ms,
        cast(turn_sums.request_count as bigint) as request_count,
        cast(turn_sums.tool_call_count as bigint) as tool_call_count,
        cast(turn_sums.failed_tool_call_count as bigint) as failed_tool_call_count,
        cast(turn_sums.output_tokens as bigint) as output_tokens,
        cast(turn_sums.total_tokens as bigint) as total_tokens,
        {{ nusd_to_usd('turn_sums.estimated_cost_nusd') }} as estimated_cost_usd,

        ---------- booleans
        turn_sums.response_ms is not null as is_answered,

        ---------- dates and instants
        turn_sums.started_at,
        turn_sums.ended_at,
        cast(turn_sums.started_at as date) as started_date
    from turn_sums
    left join sessions
        on turn_sums.session_id = sessions.session_id
)

select * from turns
