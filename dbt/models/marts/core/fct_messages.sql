{{ config(materialized='incremental') }}

with

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt('occurred_date') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

spoken_messages as (
    select
        ---------- keys
        messages.message_key,
        messages.session_key,
        sessions.project_key,

        ---------- ids
        messages.message_id,
        messages.agent_id,
        messages.prompt_id,

        ---------- attributes
        messages.role,
        messages.message_kind,
        messages.task_category,
        messages.model_name,
        messages.command_name,
        messages.prompt_source,
        messages.permission_mode,
        messages.entrypoint,
        messages.git_branch,
        {{ time_of_day('messages.hour_of_day_local') }} as time_of_day,

        ---------- measures
        messages.text_char_count,
        messages.thinking_char_count,
        messages.image_count,
        messages.line_count,
        messages.copy_count,
        messages.hour_of_day_local,

        ---------- booleans
        messages.is_human_prompt,
        messages.is_sidechain,

        ---------- dates and instants
        messages.occurred_at,
        messages.occurred_date,
        messages.occurred_date_local
    from messages
    left join sessions
        on messages.session_id = sessions.session_id
    where {{ is_spoken('messages.message_kind') }}
)

select * from spoken_messages
