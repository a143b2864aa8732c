with

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

-- What Claude Code counted for a fork begins with what its parent had cost, and so is not the fork's.
unforked_threads as (
    select * from {{ ref('int_session_threads_computed') }}
    where agent_id is null and forked_session_count = 0
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
),

-- Owned messages only: what a fork copied counts for the session that it was copied from.
session_messages as (
    select
        session_id,
        coalesce(min(case when is_timed then occurred_at end), min(occurred_at)) as started_at,
        coalesce(max(case when is_timed then occurred_at end), max(occurred_at)) as ended_at,
        sum(case when {{ is_spoken('message_kind') }} then 1 else 0 end) as message_count,
        sum(case when is_human_prompt then 1 else 0 end) as human_prompt_count,
        sum(case when message_kind = 'assistant' then 1 else 0 end) as assistant_message_count,
        sum(case when message_kind = 'api_error' then 1 else 0 end) as api_error_count,
        sum(case when message_kind = 'interrupt' then 1 else 0 end) as interrupt_count,
        sum(case when message_kind = 'command' then 1 else 0 end) as command_count,
        sum(case when message_kind = 'compact_summary' then 1 else 0 end) as compaction_count,
        -- What Claude Code asks beside the conversation has a thread too, but nobody sent an agent.
        count(
            distinct case
                when
                    is_sidechain and not {{ matches('agent_id', '^(acompact|aside_question)-') }}
                    then agent_id
            end
        ) as subagent_count
    from messages
    group by session_id
),

session_responses as (
    select
        session_id,
        count(*) as request_count,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(cache_creation_5m_tokens + cache_creation_1h_tokens) as cache_creation_tokens,
        sum(cache_read_tokens) as cache_read_tokens,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_nusd) as estimated_cost_nusd,
        sum(known_reported_cost_nusd) as reported_cost_nusd,
        sum(cache_savings_nusd) as cache_savings_nusd,
        sum(case when cost_status = 'unpriced' then 1 else 0 end) as unpriced_request_count,
        count(distinct model_name) as model_count
    from responses
    group by session_id
),

session_tools as (
    select
        session_id,
        count(*) as tool_call_count,
        sum(case when outcome = 'error' then 1 else 0 end) as failed_tool_call_count,
        count(distinct tool_name) as tool_count,
        max(coalesce(answered_at, occurred_at)) as ended_at
    from tool_usage
    group by session_id
),

sessions_computed as (
    select
        ---------- keys
        {{ surrogate_key(['sessions.session_id']) }} as session_key,
        sessions.project_key,

        ---------- ids
        sessions.session_id,

        ---------- attributes
        sessions.producer,

        ---------- measures
        cast(coalesce(session_messages.message_count, 0) as bigint) as message_count,
        cast(coalesce(session_messages.human_prompt_count, 0) as bigint) as human_prompt_count,
        cast(coalesce(session_messages.assistant_message_count, 0) as bigint)
            as assistant_message_count,
        cast(coalesce(session_messages.api_error_count, 0) as bigint) as api_error_count,
        cast(coalesce(session_messages.interrupt_count, 0) as bigint) as interrupt_count,
        cast(coalesce(session_messages.command_count, 0) as bigint) as command_count,
        cast(coalesce(session_messages.compaction_count, 0) as bigint) as compaction_count,
        cast(coalesce(session_messages.subagent_count, 0) as bigint) as subagent_count,
        cast(coalesce(session_responses.request_count, 0) as bigint) as request_count,
        cast(coalesce(session_responses.unpriced_request_count, 0) as bigint)
            as unpriced_request_count,
        cast(coalesce(session_responses.model_count, 0) as bigint) as model_count,
        cast(coalesce(session_tools.tool_call_count, 0) as bigint) as tool_call_count,
        cast(coalesce(session_tools.failed_tool_call_count, 0) as bigint)
            as failed_tool_call_count,
        cast(coalesce(session_tools.tool_count, 0) as bigint) as tool_count,
        cast(coalesce(session_responses.input_tokens, 0) as bigint) as input_tokens,
        cast(coalesce(session_responses.output_tokens, 0) as bigint) as output_tokens,
        cast(coalesce(session_responses.cache_creation_tokens, 0) as bigint)
            as cache_creation_tokens,
        cast(coalesce(session_responses.cache_read_tokens, 0) as bigint) as cache_read_tokens,
        cast(coalesce(session_responses.total_tokens, 0) as bigint) as total_tokens,
        cast(session_responses.estimated_cost_nusd as bigint) as estimated_cost_nusd,
        cast(session_responses.reported_cost_nusd as bigint) as reported_cost_nusd,
        unforked_threads.session_cost_nusd as claude_code_cost_nusd,
        cast(session_responses.cache_savings_nusd as bigint) as cache_savings_nusd,

        ---------- booleans
        sessions.is_transcribed,

        ---------- dates and instants
        -- A fork that never went on owns nothing; it stays visible, at the instants of its firings and events of
        -- requests, which are never copied, else of its copies.
        coalesce(
            least(session_messages.started_at, sessions.event_started_at), sessions.started_at
        ) as started_at,
        greatest(
            coalesce(
                greatest(session_messages.ended_at, sessions.event_ended_at), sessions.ended_at
            ),
            session_tools.ended_at
        ) as ended_at
    from sessions
    left join session_messages
        on sessions.session_id = session_messages.session_id
    left join session_responses
        on sessions.session_id = session_responses.session_id
    left join unforked_threads
        on sessions.session_id = unforked_threads.session_id
    left join session_tools
        on sessions.session_id = session_tools.session_id
)

select * from sessions_computed
