-- What a session looks like from inside, beside the sums of int_sessions_computed.
with

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
),

-- The dialogue proper: what a person said and what the main thread answered.
dialogue as (
    select
        session_id,
        message_kind,
        occurred_at,
        lag(message_kind) over (
            partition by session_id
            order by occurred_at asc, message_source_id asc
        ) as previous_kind,
        lag(occurred_at) over (
            partition by session_id
            order by occurred_at asc, message_source_id asc
        ) as previous_at
    from messages
    where message_kind in ('human_prompt', 'command', 'assistant', 'compact_summary') and not is_sidechain
),

-- A conversation ends where the context is cleared or compacted, or where the next prompt comes after a
-- long pause (a setting).
dialogue_measured as (
    select
        session_id,
        case
            when previous_at is null then 1
            when message_kind = 'compact_summary' then 1
            when
                message_kind in ('human_prompt', 'command')
                and {{ milliseconds_between('previous_at', 'occurred_at') }}
                > cast({{ conversation_gap_minutes() }} as bigint) * 60000
                then 1
            else 0
        end as conversation_start_count,
        case
            when message_kind = 'assistant' and previous_kind = 'human_prompt'
                then {{ milliseconds_between('previous_at', 'occurred_at') }}
        end as response_ms
    from dialogue
),

dialogue_sums as (
    select
        session_id,
        sum(conversation_start_count) as conversation_count,
        count(response_ms) as answered_prompt_count,
        sum(response_ms) as response_ms,
        cast(percentile_cont(0.5) within group (order by response_ms) as bigint) as median_response_ms
    from dialogue_measured
    group by session_id
),

-- The prompt of the main thread is the context it carries.
context_sums as (
    select
        session_id,
        max(total_tokens - output_tokens) as max_context_tokens
    from responses
    where not is_sidechain and not is_advisor
    group by session_id
),

-- A retry is the same tool on the same file, or a command run again, right after it failed.
tool_sequence as (
    select
        session_id,
        tool_name,
        file_path,
        outcome,
        lag(tool_name) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc, tool_use_id asc
        ) as previous_tool_name,
        lag(file_path) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc, tool_use_id asc
        ) as previous_file_path,
        lag(outcome) over (
            partition by session_id, coalesce(agent_id, '')
            order by occurred_at asc, tool_use_id asc
        ) as previous_outcome
    from tool_usage
),

tool_sums as (
    select
        session_id,
        sum(
            case
                when
                    previous_outcome = 'error'
                    and previous_tool_name = tool_name
                    and coalesce(previous_file_path, '') = coalesce(file_path, '')
                    then 1
                else 0
            end
        ) as retry_count
    from tool_sequence
    group by session_id
),

session_ids as (
    select session_id from dialogue_sums
    union
    select session_id from context_sums
    union
    select session_id from tool_sums
),

sessions_profiled as (
    select
        {{ surrogate_key(['session_ids.session_id']) }} as session_key,
        cast(coalesce(dialogue_sums.conversation_count, 0) as bigint) as conversation_count,
        cast(coalesce(dialogue_sums.answered_prompt_count, 0) as bigint) as answered_prompt_count,
        cast(dialogue_sums.response_ms as bigint) as response_ms,
        dialogue_sums.median_response_ms,
        cast(context_sums.max_context_tokens as bigint) as max_context_tokens,
        cast(coalesce(tool_sums.retry_count, 0) as bigint) as retry_count
    from session_ids
    left join dialogue_sums
        on session_ids.session_id = dialogue_sums.session_id
    left join context_sums
        on session_ids.session_id = context_sums.session_id
    left join tool_sums
        on session_ids.session_id = tool_sums.session_id
)

select * from sessions_profiled
