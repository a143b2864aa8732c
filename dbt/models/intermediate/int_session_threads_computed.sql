{{ config(materialized='table') }}

with

conversations as (
    select * from {{ ref('stg_conversations') }}
),

-- Lines of state (summaries, snapshots) name no session and must not make one called unknown; those that gold
-- has a row of do. ENTITIES_SQL of analytics/loader.py has the same rule.
lines as (
    select * from conversations
    where
        session_id <> 'unknown'
        or line_type in ('user', 'assistant', 'progress')
        or message_role = 'user'
        or line_subtype in ('compact_boundary', 'api_error')
),

threads as (
    select
        ---------- ids
        session_id,
        agent_id,

        ---------- attributes
        {{ first_value_by(
            'cwd', ['occurred_at', 'record_id'],
            'cwd is not null and occurred_at is not null and not is_sidechain and agent_id is null'
        ) }} as first_main_cwd,
        {{ first_value_by(
            'cwd', ['occurred_at', 'record_id'], 'cwd is not null and occurred_at is not null'
        ) }} as first_cwd,

        ---------- measures
        -- A fork names the session of each request that it copied: none of an original, its parent's of a fork, and
        -- its grandparent's too of a fork's fork.
        count(
            distinct case when request_session_id <> session_id then request_session_id end
        ) as forked_session_count,
        -- It only grows, however often the session is left and resumed.
        max(session_cost_nusd) as session_cost_nusd,

        ---------- dates and instants
        min(occurred_at) as started_at,
        max(occurred_at) as ended_at
    from lines
    group by session_id, agent_id
)

select * from threads
