{{ config(materialized='incremental') }}

with

-- Read three times, for the columns that each needs: one relation for all would be kept whole in memory, texts
-- and lists of blocks too.
line_places as (
    select
        record_id,
        message_source_id,
        session_id,
        agent_id,
        is_progress_copy,
        is_sidechain,
        is_timed,
        occurred_at,
        record_date
    from {{ ref('stg_messages') }}
    where {{ is_read('record_date') }}
),

line_parts as (
    select
        message_source_id,
        session_id,
        agent_id,
        line_id,
        is_progress_copy,
        is_sidechain,
        text_char_count,
        thinking_char_count,
        tool_input_char_count,
        image_count
    from {{ ref('stg_messages') }}
    where {{ is_read('record_date') }}
),

lines as (
    select
        *,
        {{ has_block('blocks', 'tool_result') }} as is_tool_result
    from {{ ref('stg_messages') }}
    where {{ is_read('record_date') }}
),

threads as (
    select * from {{ ref('int_session_threads_computed') }}
),

-- Forks, resumes and subagents copy whole conversations. The owner is the main thread before a subagent, then the
-- thread that is known to be forked from fewer, then whoever stopped writing first: the copy is made from a thread
-- that had come to rest. Progress lines count only where nothing else holds the message. The first line of the owner gives instant and
-- attributes, which a later append cannot change. A line without an instant has the start of the day it is
-- filed under, which differs by who carried it, so it is first only where no other is.
lines_ranked as (
    select
        line_places.record_id,
        line_places.record_date,
        line_places.message_source_id,
        row_number() over (
            partition by line_places.message_source_id
            order by
                line_places.is_progress_copy asc nulls last,
                line_places.is_sidechain asc nulls last,
                threads.forked_session_count asc nulls last,
                threads.ended_at asc nulls last,
                line_places.session_id asc nulls last,
                line_places.agent_id asc nulls first,
                line_places.is_timed desc nulls last,
                line_places.occurred_at asc nulls last,
                line_places.record_id asc nulls last,
                line_places.record_date asc nulls last
        ) as line_rank
    from line_places
    left join threads
        on
            line_places.session_id = threads.session_id
            and coalesce(line_places.agent_id, '') = coalesce(threads.agent_id, '')
),

-- One line may come twice within a holder (rewritten with another version), so by line first, then by holder.
line_sizes as (
    select
        message_source_id,
        session_id,
        agent_id,
        is_sidechain,
        is_progress_copy,
        line_id,
        max(text_char_count) as text_char_count,
        max(thinking_char_count) as thinking_char_count,
        max(tool_input_char_count) as tool_input_char_count,
        max(image_count) as image_count
    from line_parts
    group by message_source_id, session_id, agent_id, is_sidechain, is_progress_copy, line_id
),

holder_sizes as (
    select
        message_source_id,
        sum(text_char_count) as text_char_count,
        sum(thinking_char_count) as thinking_char_count,
        sum(tool_input_char_count) as tool_input_char_count,
        sum(image_count) as image_count,
        count(*) as line_count
    from line_sizes
    group by message_source_id, session_id, agent_id, is_sidechain, is_progress_copy
),

-- The fullest copy, since some are truncated.
message_sizes as (
    select
        message_source_id,
        cast(coalesce(max(text_char_count), 0) as bigint) as max_text_char_count,
        cast(coalesce(max(thinking_char_count), 0) as bigint) as max_thinking_char_count,
        cast(coalesce(max(tool_input_char_count), 0) as bigint) as max_tool_input_char_count,
        cast(coalesce(max(image_count), 0) as bigint) as max_image_count,
        cast(max(line_count) as bigint) as line_count,
        cast(count(*) as bigint) as copy_count
    from holder_sizes
    group by message_source_id
),

-- Which line stands for a message, with its sizes: one relation, so that no second one is kept in memory while all
-- lines pass it.
owning_lines as (
    select
        lines_ranked.record_id,
        lines_ranked.record_date,
        message_sizes.max_text_char_count,
        message_sizes.max_thinking_char_count,
        message_sizes.max_tool_input_char_count,
        message_sizes.max_image_count,
        message_sizes.line_count,
        message_sizes.copy_count
    from lines_ranked
    inner join message_sizes
        on lines_ranked.message_source_id = message_sizes.message_source_id
    where lines_ranked.line_rank = 1
),

first_lines as (
    select
        lines.*,
        owning_lines.max_text_char_count,
        owning_lines.max_thinking_char_count,
        owning_lines.max_tool_input_char_count,
        owning_lines.max_image_count,
        owning_lines.line_count,
        owning_lines.copy_count
    from lines
    inner join owning_lines
        on
            lines.record_id = owning_lines.record_id
            and lines.record_date = owning_lines.record_date
),

-- Six of seven user lines are tool results. What Claude Code puts in says so by a flag, a tag or, since
-- 2.1.161, by prompt_source and origin_kind; what is left was written by a person.
messages_classified as (
    select
        first_lines.*,
        case
            when first_lines.role = 'assistant' and first_lines.is_api_error then 'api_error'
            when
                first_lines.role = 'assistant' and first_lines.model_name = '<synthetic>'
                then 'synthetic'
            when first_lines.role = 'assistant' then 'assistant'
            when first_lines.is_tool_result then 'tool_result'
            when first_lines.is_compact_summary then 'compact_summary'
            when first_lines.leading_tag = 'interrupt' then 'interrupt'
            when
                first_lines.leading_tag in ('command-name', 'command-message', 'command-args')
                then 'command'
            when first_lines.leading_tag = 'bash-input' then 'bash_input'
            when
                first_lines.leading_tag in (
                    'local-command-stdout',
                    'local-command-stderr',
                    'local-command-caveat',
                    'bash-stdout',
                    'bash-stderr'
                )
                then 'local_command_output'
            when
                first_lines.leading_tag = 'task-notification'
                or first_lines.origin_kind = 'task-notification'
                then 'task_notification'
            -- Any other tag may be what a person pasted.
            when
                first_lines.is_meta
                or first_lines.leading_tag like '%-hook'
                or first_lines.leading_tag like '%-reminder'
                or first_lines.leading_tag like '%-notification'
                or first_lines.leading_tag like '%-message'
                or first_lines.leading_tag = 'persisted-output'
                then 'meta'
            when
                first_lines.is_sidechain or first_lines.agent_id is not null
                then 'subagent_prompt'
            when first_lines.origin_kind in ('peer', 'coordinator') then 'agent_message'
            -- An unknown origin kind is not a person.
            when
                first_lines.prompt_source = 'system' or first_lines.origin_kind <> 'human'
                then 'meta'
            else 'human_prompt'
        end as message_kind
    from first_lines
),

messages_enriched as (
    select
        ---------- keys
        {{ surrogate_key(['messages_classified.message_source_id']) }} as message_key,
        {{ surrogate_key(['messages_classified.session_id']) }} as session_key,

        ---------- ids
        messages_classified.message_source_id,
        messages_classified.message_id,
        messages_classified.session_id,
        messages_classified.agent_id,
        messages_classified.prompt_id,

        ---------- attributes
        messages_classified.role,
        messages_classified.message_kind,
        messages_classified.model_name,
        messages_classified.command_name,
        messages_classified.prompt_source,
        messages_classified.permission_mode,
        messages_classified.effort,
        messages_classified.entrypoint,
        messages_classified.git_branch,
        messages_classified.app_version,
        messages_classified.attribution_skill,
        messages_classified.attribution_plugin,
        messages_classified.attribution_mcp_server,
        messages_classified.prompt_text,
        case
            -- A picture alone: nothing was kept back.
            when
                messages_classified.message_kind = 'human_prompt'
                and messages_classified.text_char_count = 0
                then 'other'
            when messages_classified.message_kind = 'human_prompt'
                then {{ task_category('messages_classified.prompt_text') }}
        end as task_category,

        ---------- measures
        messages_classified.max_text_char_count as text_char_count,
        messages_classified.max_thinking_char_count as thinking_char_count,
        messages_classified.max_tool_input_char_count as tool_input_char_count,
        messages_classified.max_image_count as image_count,
        messages_classified.line_count,
        messages_classified.copy_count,

        ---------- booleans
        messages_classified.message_kind = 'human_prompt' as is_human_prompt,
        messages_classified.is_sidechain,
        messages_classified.is_timed,

        ---------- dates and instants
        messages_classified.occurred_at,
        cast(messages_classified.occurred_at as date) as occurred_date,
        {{ local_date('messages_classified.occurred_at') }} as occurred_date_local,
        {{ local_hour_of_day('messages_classified.occurred_at') }} as hour_of_day_local,
        messages_classified.limit_reset_at
    from messages_classified
)

select * from messages_enriched
where {{ is_rebuilt('occurred_date') }}
