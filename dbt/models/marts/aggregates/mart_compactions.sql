with

compactions as (
    select * from {{ ref('int_compactions_deduplicated') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

compactions_placed as (
    select
        ---------- keys
        compactions.compaction_key,
        compactions.session_key,
        sessions.project_key,

        ---------- ids
        compactions.agent_id,

        ---------- attributes
        compactions.compact_trigger,

        ---------- measures
        compactions.compact_pre_tokens as before_tokens,
        compactions.compact_post_tokens as after_tokens,
        compactions.duration_ms,
        cast(row_number() over (
            partition by compactions.session_key
            order by
                compactions.compacted_at asc nulls last, compactions.compaction_key asc nulls last
        ) as bigint) as compaction_number,

        ---------- dates and instants
        compactions.compacted_at,
        cast(compactions.compacted_at as date) as compacted_date
    from compactions
    left join sessions
        on compactions.session_id = sessions.session_id
)

select * from compactions_placed
