with

conversations as (
    select * from {{ ref('stg_conversations') }}
    where line_subtype = 'compact_boundary'
),

-- Forks copy the line; whoever wrote it first keeps it.
boundaries as (
    select
        *,
        coalesce(line_uuid, record_id) as boundary_id,
        coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) as compacted_at,
        row_number() over (
            partition by coalesce(line_uuid, record_id)
            order by occurred_at asc nulls last, session_id asc, record_id asc, record_date asc
        ) as copy_number
    from conversations
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
