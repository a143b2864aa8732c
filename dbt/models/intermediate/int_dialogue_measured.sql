{{ config(materialized='incremental', replaces='sessions') }}

with

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt_session('session_id') }}
),

-- The dialogue proper: what a person said and what the main thread answered.
dialogue as (
    select
        message_key,
        message_source_id,
        session_id,
        message_kind,
        task_category,
        occurred_at,
        lag(message_kind) over (
            partition by session_id
            order by occurred_at asc nulls last, message_source_id asc nulls last
        ) as previous_kind,
        lag(command_name) over (
            partition by session_id
            order by occurred_at asc nulls last, message_source_id asc nulls last
        ) as previous_command_name,
        lag(occurred_at) over (
            partition by session_id
            order by occurred_at asc nulls last, message_source_id asc nulls last
        ) as previous_at
    from messages
    where
        message_kind in ('human_prompt', 'command', 'assistant', 'compact_summary')
        and not is_sidechain
),

-- A conversation ends where the context is cleared or compacted, or where the next prompt comes after a
-- long pause (a setting).
dialogue_split as (
    select
        *,
        case
            when previous_at is null then 'session'
            when message_kind = 'compact_summary' then 'compaction'
            when previous_command_name = '/clear' then 'clear'
            when
                message_kind in ('human_prompt', 'command')
                and {{ milliseconds_between('previous_at', 'occurred_at') }}
                > cast({{ conversation_gap_minutes() }} as bigint) * 60000
                then 'pause'
        end as start_reason,
        case
            when message_kind = 'assistant' and previous_kind = 'human_prompt'
                then {{ milliseconds_between('previous_at', 'occurred_at') }}
        end as response_ms
    from dialogue
),

dialogue_measured as (
    select
        message_key,
        session_id,
        message_kind,
        task_category,
        start_reason,
        response_ms,
        case when start_reason is not null then 1 else 0 end as conversation_start_count,
        case when message_kind = 'human_prompt' then 1 else 0 end as turn_start_count,
        occurred_at
    from dialogue_split
)

select * from dialogue_measured
