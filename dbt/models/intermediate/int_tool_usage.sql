{{ config(materialized='incremental') }}

{%- set refusals = "('user_rejected', 'permission_denied', 'hook_blocked')" %}
{%- set stops = "('interrupted', 'cancelled')" %}

with

use_blocks as (
    select * from {{ ref('stg_tool_calls') }}
    where {{ is_read('record_date') }} and block_type = 'tool_use'
),

result_blocks as (
    select * from {{ ref('stg_tool_calls') }}
    where {{ is_read('record_date') }} and block_type = 'tool_result'
),

hook_events as (
    select * from {{ ref('stg_hook_events') }}
    where {{ is_read('record_date') }} and tool_use_id is not null and producer = 'claude-code'
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

-- One id is one call, however many lines and files repeat it; its place and time are those of its message's
-- owner, or the earliest message's if models without unique ids repeat one.
uses_ranked as (
    select
        use_blocks.*,
        messages.message_key,
        messages.session_key,
        messages.session_id as owner_session_id,
        messages.agent_id as owner_agent_id,
        messages.is_sidechain as is_owner_sidechain,
        row_number() over (
            partition by use_blocks.tool_use_id
            order by
                use_blocks.is_progress_copy asc nulls last,
                messages.is_sidechain asc nulls last,
                messages.occurred_at asc nulls last,
                use_blocks.message_source_id asc nulls last,
                case
                    when
                        use_blocks.session_id = messages.session_id
                        and coalesce(use_blocks.agent_id, '') = coalesce(messages.agent_id, '')
                        and use_blocks.is_sidechain = messages.is_sidechain
                        then 0
                    else 1
                end asc nulls last,
                use_blocks.occurred_at asc nulls last,
                use_blocks.record_id asc nulls last,
                use_blocks.record_date asc nulls last,
                use_blocks.block_index asc nulls last
        ) as use_rank
    from use_blocks
    inner join messages
        on use_blocks.message_source_id = messages.message_source_id
),

uses as (
    select * from uses_ranked
    where use_rank = 1
),

-- What hooks know of a call. Without a Post event it was denied, stopped or never answered.
hook_calls as (
    select
        tool_use_id,
        {{ first_value_by('session_id', ['occurred_at', 'record_id', 'record_date'], '1 = 1') }}
            as session_id,
        {{ first_value_by('agent_id', ['occurred_at', 'record_id', 'record_date'], '1 = 1') }}
            as agent_id,
        {{ first_value_by(
            'tool_name', ['occurred_at', 'record_id', 'record_date'], 'tool_name is not null'
        ) }} as tool_name,
        {{ first_value_by(
            'file_path', ['occurred_at', 'record_id', 'record_date'], 'file_path is not null'
        ) }} as file_path,
        max(subagent_type) as subagent_type,
        max(error_marker) as error_marker,
        max(exit_code) as exit_code,
        max(tool_input_char_count) as input_char_count,
        max(tool_response_char_count) as result_char_count,
        max(case when event_name in ('PostToolUse', 'PostToolUseFailure') then duration_ms end)
            as duration_ms,
        max(case when event_name = 'PostToolUse' then 1 else 0 end) = 1 as has_ended,
        max(case when event_name = 'PostToolUseFailure' then 1 else 0 end) = 1 as has_failed,
        max(case when event_name = 'PermissionDenied' then 1 else 0 end) = 1 as is_denied,
        max(case when is_interrupt then 1 else 0 end) = 1 as is_interrupt,
        min(occurred_at) as occurred_at,
        min(case when event_name in ('PostToolUse', 'PostToolUseFailure') then occurred_at end)
            as answered_at
    from hook_events
    group by tool_use_id
),

-- A call that only hooks know (its transcript is gone, or not here yet) is a call all the same, without a message.
calls as (
    select
        uses.tool_use_id,
        uses.message_key,
        uses.session_key,
        uses.owner_session_id as session_id,
        uses.owner_agent_id as agent_id,
        uses.tool_name,
        uses.file_path,
        uses.subagent_type,
        uses.skill_name,
        uses.attribution_mcp_server,
        uses.input_char_count,
        uses.input_line_count,
        uses.input_removed_line_count,
        coalesce(uses.is_owner_sidechain, false) as is_sidechain,
        uses.occurred_at
    from uses
    union all
    select
        hook_calls.tool_use_id,
        null as message_key,
        {{ surrogate_key(['hook_calls.session_id']) }} as session_key,
        hook_calls.session_id,
        hook_calls.agent_id,
        hook_calls.tool_name,
        hook_calls.file_path,
        hook_calls.subagent_type,
        null as skill_name,
        null as attribution_mcp_server,
        hook_calls.input_char_count,
        null as input_line_count,
        null as input_removed_line_count,
        hook_calls.agent_id is not null as is_sidechain,
        hook_calls.occurred_at
    from hook_calls
    left join uses
        on hook_calls.tool_use_id = uses.tool_use_id
    where uses.tool_use_id is null
),

-- A result may lie in another copy than its use. Of several, the owner's own comes first, then the earliest.
results_ranked as (
    select
        result_blocks.*,
        row_number() over (
            partition by result_blocks.tool_use_id
            order by
                result_blocks.is_progress_copy asc nulls last,
                case
                    when result_blocks.session_id = calls.session_id then 0 else 1
                end asc nulls last,
                result_blocks.occurred_at asc nulls last,
                result_blocks.record_id asc nulls last,
                result_blocks.record_date asc nulls last,
                result_blocks.block_index asc nulls last
        ) as result_rank
    from result_blocks
    inner join calls
        on result_blocks.tool_use_id = calls.tool_use_id
),

results as (
    select * from results_ranked
    where result_rank = 1
),

-- The transcript's result speaks first; hooks know denials and interrupts, and speak where there is no result.
calls_answered as (
    select
        ---------- keys
        {{ surrogate_key(['calls.tool_use_id']) }} as tool_call_key,
        calls.message_key,
        calls.session_key,
        {{ surrogate_key(["coalesce(calls.tool_name, 'unknown')"]) }} as tool_key,

        ---------- ids
        calls.tool_use_id,
        calls.session_id,
        calls.agent_id,
        results.result_agent_id,

        ---------- attributes
        coalesce(calls.tool_name, 'unknown') as tool_name,
        case
            when results.error_marker in {{ refusals }} then results.error_marker
            when results.tool_denial_kind = 'user-rejected' then 'user_rejected'
            when results.tool_denial_kind is not null then 'permission_denied'
            when
                hook_calls.is_denied and not hook_calls.has_ended and not hook_calls.has_failed
                then 'permission_denied'
            when results.is_result_interrupted or hook_calls.is_interrupt then 'interrupted'
            when results.is_error then coalesce(results.error_marker, 'other')
            when results.tool_use_id is null and hook_calls.has_failed and not hook_calls.has_ended
                then coalesce(hook_calls.error_marker, 'other')
        end as error_type,
        case
            when hook_calls.duration_ms is not null then 'hook'
            when results.tool_use_id is null and hook_calls.answered_at is null then null
            when results.result_duration_ms is not null then 'result'
            else 'elapsed'
        end as duration_source,
        coalesce(results.result_file_path, calls.file_path) as file_path,
        results.result_operation,
        results.result_shape,
        calls.subagent_type,
        calls.skill_name,
        calls.attribution_mcp_server,

        ---------- measures
        case
            when hook_calls.duration_ms is not null then hook_calls.duration_ms
            when results.result_duration_ms is not null then results.result_duration_ms
            when coalesce(results.occurred_at, hook_calls.answered_at) <= calls.occurred_at then 0
            else
                {{ milliseconds_between(
                    'calls.occurred_at', 'coalesce(results.occurred_at, hook_calls.answered_at)'
                ) }}
        end as duration_ms,
        coalesce(results.exit_code, hook_calls.exit_code) as exit_code,
        coalesce(calls.input_char_count, 0) as input_char_count,
        coalesce(results.text_char_count, hook_calls.result_char_count, 0) as result_char_count,
        calls.input_line_count,
        calls.input_removed_line_count,
        results.patch_added_line_count,
        results.patch_removed_line_count,
        results.patch_hunk_count,
        results.result_content_line_count,

        ---------- booleans
        calls.is_sidechain,
        coalesce(results.is_user_modified, false) as is_user_modified,
        calls.message_key is not null as is_transcribed,
        hook_calls.tool_use_id is not null as is_hooked,

        ---------- dates and instants
        calls.occurred_at,
        coalesce(results.occurred_at, hook_calls.answered_at) as answered_at,
        cast(calls.occurred_at as date) as occurred_date,
        {{ local_date('calls.occurred_at') }} as occurred_date_local,
        {{ local_hour_of_day('calls.occurred_at') }} as hour_of_day_local
    from calls
    left join results
        on calls.tool_use_id = results.tool_use_id
    left join hook_calls
        on calls.tool_use_id = hook_calls.tool_use_id
),

-- Refused, stopped by a person or cancelled beside a call that failed is not a failure of the tool.
tool_usage as (
    select
        *,
        case
            when error_type in {{ refusals }} then 'rejected'
            when error_type in {{ stops }} then 'interrupted'
            when error_type is not null then 'error'
            when answered_at is not null then 'success'
            else 'unanswered'
        end as outcome
    from calls_answered
)

select * from tool_usage
where {{ is_rebuilt('occurred_date') }}
