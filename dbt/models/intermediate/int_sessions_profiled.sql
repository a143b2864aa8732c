{{ config(materialized='incremental', replaces='sessions') }}

with

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt_session('session_id') }}
),

dialogue as (
    select * from {{ ref('int_dialogue_measured') }}
    where {{ is_rebuilt_session('session_id') }}
),

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
    where {{ is_rebuilt_session('session_id') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt_session('session_id') }}
),

retries as (
    select * from {{ ref('int_tool_calls_retried') }}
    where {{ is_rebuilt_session('session_id') }}
),

message_gaps as (
    select
        session_id,
        {{ milliseconds_between(
            'lag(occurred_at) over ('
            ~ 'partition by session_id order by occurred_at asc nulls last, message_source_id asc nulls last)',
            'occurred_at'
        ) }} as gap_ms
    from messages
    where is_timed
),

-- A session left open overnight was not worked on: pauses longer than the setting are no part of it.
activity_sums as (
    select
        session_id,
        sum(
            case
                when gap_ms <= cast({{ conversation_gap_minutes() }} as bigint) * 60000 then gap_ms
                else 0
            end
        ) as active_ms
    from message_gaps
    group by session_id
),

dialogue_sums as (
    select
        session_id,
        count(response_ms) as answered_prompt_count,
        sum(response_ms) as response_ms,
        cast(round(percentile_cont(0.5) within group (order by response_ms)) as bigint)
            as median_response_ms
    from dialogue
    group by session_id
),

-- The prompt of the main thread is the context it carries.
context_sums as (
    select
        session_id,
        {{ first_value_by(
            'total_tokens - output_tokens', ['occurred_at', 'response_source_id'], '1 = 1'
        ) }} as first_context_tokens,
        {{ last_value_by(
            'total_tokens - output_tokens', ['occurred_at', 'response_source_id'], '1 = 1'
        ) }} as last_context_tokens,
        max(total_tokens - output_tokens) as max_context_tokens
    from responses
    where not is_sidechain and not is_advisor
    group by session_id
),

tool_sums as (
    select
        tool_usage.session_id,
        count(retries.tool_call_key) as retry_count
    from tool_usage
    left join retries
        on tool_usage.tool_call_key = retries.tool_call_key
    group by tool_usage.session_id
),

session_ids as (
    select session_id from activity_sums
    union
    select session_id from dialogue_sums
    union
    select session_id from context_sums
    union
    select session_id from tool_sums
),

sessions_profiled as (
    select
        {{ surrogate_key(['session_ids.session_id']) }} as session_key,
        session_ids.session_id,
        cast(coalesce(activity_sums.active_ms, 0) as bigint) as active_ms,
        cast(coalesce(dialogue_sums.answered_prompt_count, 0) as bigint) as answered_prompt_count,
        cast(dialogue_sums.response_ms as bigint) as response_ms,
        dialogue_sums.median_response_ms,
        cast(context_sums.first_context_tokens as bigint) as first_context_tokens,
        cast(context_sums.last_context_tokens as bigint) as last_context_tokens,
        cast(context_sums.max_context_tokens as bigint) as max_context_tokens,
        cast(coalesce(tool_sums.retry_count, 0) as bigint) as retry_count
    from session_ids
    left join activity_sums
        on session_ids.session_id = activity_sums.session_id
    left join dialogue_sums
        on session_ids.session_id = dialogue_sums.session_id
    left join context_sums
        on session_ids.session_id = context_sums.session_id
    left join tool_sums
        on session_ids.session_id = tool_sums.session_id
)

select * from sessions_profiled
