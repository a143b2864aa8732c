with

conversations as (
    select * from {{ ref('stg_conversations') }}
    where line_subtype in ('compact_boundary', 'api_error')
),

threads as (
    select * from {{ ref('int_session_threads_computed') }}
),

-- Forks and subagents copy the line, with its instant; whose it is goes by the order of int_messages_enriched, so
-- that a compaction and its summary are in one session.
lines_ranked as (
    select
        conversations.*,
        coalesce(conversations.line_uuid, conversations.record_id) as line_id,
        row_number() over (
            partition by coalesce(conversations.line_uuid, conversations.record_id)
            order by
                conversations.is_sidechain asc nulls last,
                threads.forked_session_count asc nulls last,
                threads.ended_at asc nulls last,
                conversations.session_id asc nulls last,
                conversations.agent_id asc nulls first,
                conversations.occurred_at asc nulls last,
                conversations.record_id asc nulls last,
                conversations.record_date asc nulls last
        ) as copy_number
    from conversations
    left join threads
        on
            conversations.session_id = threads.session_id
            and coalesce(conversations.agent_id, '') = coalesce(threads.agent_id, '')
),

system_lines_deduplicated as (
    select
        ---------- keys
        {{ surrogate_key(['line_id']) }} as system_line_key,
        {{ surrogate_key(['session_id']) }} as session_key,

        ---------- ids
        session_id,
        agent_id,

        ---------- attributes
        line_subtype,
        compact_trigger,

        ---------- measures
        compact_pre_tokens,
        compact_post_tokens,
        duration_ms,

        ---------- booleans
        is_sidechain or agent_id is not null as is_sidechain,

        ---------- dates and instants
        coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) as occurred_at
    from lines_ranked
    where copy_number = 1
)

select * from system_lines_deduplicated
