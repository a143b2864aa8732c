{{ config(materialized='incremental', replaces='sessions') }}

with

dialogue as (
    select * from {{ ref('int_dialogue_measured') }}
    where {{ is_rebuilt_session('session_id') }}
),

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
    where {{ is_rebuilt_session('session_id') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt_session('session_id') }}
),

turn_events as (
    select
        session_id,
        message_key as event_key,
        case when message_kind = 'assistant' then 1 else 0 end as event_order,
        task_category,
        start_reason,
        response_ms,
        conversation_start_count,
        turn_start_count,
        0 as request_count,
        0 as tool_call_count,
        0 as failed_tool_call_count,
        0 as output_tokens,
        0 as total_tokens,
        null as context_tokens,
        null as estimated_cost_nusd,
        occurred_at
    from dialogue
    union all
    select
        session_id,
        request_key as event_key,
        2 as event_order,
        null as task_category,
        null as start_reason,
        null as response_ms,
        0 as conversation_start_count,
        0 as turn_start_count,
        1 as request_count,
        0 as tool_call_count,
        0 as failed_tool_call_count,
        output_tokens,
        total_tokens,
        case
            when
                is_transcribed and not is_sidechain and not is_advisor
                then total_tokens - output_tokens
        end as context_tokens,
        estimated_cost_nusd,
        occurred_at
    from responses
    union all
    select
        session_id,
        tool_call_key as event_key,
        3 as event_order,
        null as task_category,
        null as start_reason,
        null as response_ms,
        0 as conversation_start_count,
        0 as turn_start_count,
        0 as request_count,
        1 as tool_call_count,
        case when outcome = 'error' then 1 else 0 end as failed_tool_call_count,
        0 as output_tokens,
        0 as total_tokens,
        null as context_tokens,
        null as estimated_cost_nusd,
        occurred_at
    from tool_usage
),

-- Everything of a session in its order, numbered by the prompt and the conversation that it belongs to.
-- Subagents work for the prompt during which they run.
turn_events_numbered as (
    select
        *,
        cast(sum(turn_start_count) over (
            partition by session_id
            order by
                occurred_at asc nulls last, event_order asc nulls last, event_key asc nulls last
            rows between unbounded preceding and current row
        ) as bigint) as turn_number,
        greatest(cast(sum(conversation_start_count) over (
            partition by session_id
            order by
                occurred_at asc nulls last, event_order asc nulls last, event_key asc nulls last
            rows between unbounded preceding and current row
        ) as bigint), 1) as conversation_number
    from turn_events
),

turns_summed as (
    select
        ---------- keys
        max(case when turn_start_count = 1 then event_key end) as turn_key,

        ---------- ids
        session_id,

        ---------- attributes
        max(case when turn_start_count = 1 then task_category end) as task_category,
        max(start_reason) as start_reason,

        ---------- measures
        turn_number,
        conversation_number,
        cast(sum(turn_start_count) as bigint) as turn_start_count,
        cast(max(response_ms) as bigint) as response_ms,
        cast(sum(request_count) as bigint) as request_count,
        cast(sum(tool_call_count) as bigint) as tool_call_count,
        cast(sum(failed_tool_call_count) as bigint) as failed_tool_call_count,
        cast(max(context_tokens) as bigint) as max_context_tokens,
        cast(sum(output_tokens) as bigint) as output_tokens,
        cast(sum(total_tokens) as bigint) as total_tokens,
        cast(sum(estimated_cost_nusd) as bigint) as estimated_cost_nusd,

        ---------- dates and instants
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at
    from turn_events_numbered
    group by session_id, turn_number, conversation_number
)

select * from turns_summed
