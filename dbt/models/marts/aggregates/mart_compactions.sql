with

compactions as (
    select * from {{ ref('int_system_lines_deduplicated') }}
    where line_subtype = 'compact_boundary'
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

compactions_placed as (
    select
        ---------- keys
        compactions.system_line_key as compaction_key,
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
                compactions.occurred_at asc nulls last, compactions.system_line_key asc nulls last
        ) as bigint) as compaction_number,

        ---------- dates and instants
        compactions.occurred_at as compacted_at,
        cast(compactions.occurred_at as date) as compacted_date
    from compactions
    left join sessions
        on compactions.session_id = sessions.session_id
)

select * from compactions_placed
