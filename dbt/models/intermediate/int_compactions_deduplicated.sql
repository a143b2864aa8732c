with

conversations as (
    select * from {{ ref('stg_conversations') }}
    where line_subtype = 'compact_boundary'
),

threads as (
    select * from {{ ref('int_session_threads_computed') }}
),

-- Forks and subagents copy the line, with its instant; whose it is goes by the order of int_messages_enriched, so
-- that a compaction and its summary are in one session.
boundaries as (
    select
        conversations.*,
        coalesce(conversations.line_uuid, conversations.record_id) as boundary_id,
        coalesce(
            conversations.occurred_at, cast(conversations.record_date as {{ timestamp_type() }})
        ) as compacted_at,
        row_number() over (
            partition by coalesce(conversations.line_uuid, conversations.record_id)
            order by
                conversations.is_sidechain asc nulls last,
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

compactions_deduplicated as (
    select
        {{ surrogate_key(['boundary_id']) }} as compaction_key,
        {{ surrogate_key(['session_id']) }} as session_key,
        session_id,
        agent_id,
        compact_trigger,
        compact_pre_tokens,
        compact_post_tokens,
        duration_ms,
        compacted_at
    from boundaries
    where copy_number = 1
)

select * from compactions_deduplicated
