{{ config(materialized='incremental') }}

with

tool_blocks as (
    select * from {{ ref('stg_tool_calls') }}
    where {{ is_read('record_date') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

-- One id is one call, however many lines and files repeat it; its place and time are those of its message's
-- owner, or the earliest message's if models without unique ids repeat one.
uses_ranked as (
    select
        tool_blocks.*,
        messages.message_key,
        messages.session_key,
        messages.session_id as owner_session_id,
        messages.agent_id as owner_agent_id,
        messages.is_sidechain as is_owner_sidechain,
        row_number() over (
            partition by tool_blocks.tool_use_id
            order by
                tool_blocks.is_progress_copy asc,
                messages.is_sidechain asc,
                messages.occurred_at asc,
                tool_blocks.message_source_id asc,
                case
                    when
                        tool_blocks.session_id = messages.session_id
                        and coalesce(tool_blocks.agent_id, '') = coalesce(messages.agent_id, '')
                        and tool_blocks.is_sidechain = messages.is_sidechain
                        then 0
                    else 1
                end asc,
                tool_blocks.occurred_at asc,
                tool_blocks.record_id asc,
                tool_blocks.record_date asc,
                tool_blocks.block_index asc
        ) as use_rank
    from tool_blocks
    inner join messages
        on tool_blocks.message_source_id = messages.message_source_id
    where tool_blocks.block_type = 'tool_use'
),

uses as (
    select * from uses_ranked
    where use_rank = 1
),

-- A result may lie in another copy than its use. Of several, the owner's own comes first, then the earliest.
results_ranked as (
    select
        results.*,
        row_number() over (
            partition by results.tool_use_id
            order by
                results.is_progress_copy asc,
                case when results.session_id = uses.owner_session_id then 0 else 1 end asc,
                results.occurred_at asc,
                results.record_id asc,
                results.record_date asc,
                results.block_index asc
        ) as result_rank
    from tool_blocks as results
    inner join uses
        on results.tool_use_id = uses.tool_use_id
    where results.block_type = 'tool_result'
),

results as (
    select * from results_ranked
    where result_rank = 1
),

-- Refused, or stopped by a person, is not a failure of the tool. Durations of hooks (the cleanest source)
-- join here by tool_use_id, before the result's own, once hook events are staged.
tool_usage as (
    select
        ---------- keys
        {{ surrogate_key(['uses.tool_use_id']) }} as tool_call_key,
        uses.message_key,
        uses.session_key,
        {{ surrogate_key(["coalesce(uses.tool_name, 'unknown')"]) }} as tool_key,

        ---------- ids
        uses.tool_use_id,
        uses.owner_session_id as session_id,
        uses.owner_agent_id as agent_id,
        results.result_agent_id,

        ---------- attributes
        coalesce(uses.tool_name, 'unknown') as tool_name,
        case
            when results.tool_use_id is null then 'unanswered'
            when
                results.error_marker in ('user_rejected', 'permission_denied')
                or results.tool_denial_kind is not null
                then 'rejected'
            when results.error_marker = 'interrupted' or results.is_result_interrupted then 'interrupted'
            when results.is_error then 'error'
            else 'success'
        end as outcome,
        case when results.is_error then coalesce(results.error_marker, 'other') end as error_type,
        case
            when results.tool_use_id is null then null
            when results.result_duration_ms is not null then 'result'
            else 'elapsed'
        end as duration_source,
        coalesce(results.result_file_path, uses.file_path) as file_path,
        results.result_operation,
        results.result_shape,
        uses.subagent_type,
        uses.skill_name,
        uses.attribution_mcp_server,

        ---------- measures
        case
            when results.tool_use_id is null then null
            when results.result_duration_ms is not null then results.result_duration_ms
            when results.occurred_at <= uses.occurred_at then 0
            else {{ milliseconds_between('uses.occurred_at', 'results.occurred_at') }}
        end as duration_ms,
        results.exit_code,
        coalesce(uses.input_char_count, 0) as input_char_count,
        coalesce(results.text_char_count, 0) as result_char_count,
        uses.input_line_count,
        uses.input_removed_line_count,
        uses.input_edit_count,
        results.patch_added_line_count,
        results.patch_removed_line_count,
        results.patch_hunk_count,
        results.result_content_line_count,

        ---------- booleans
        coalesce(uses.is_owner_sidechain, false) as is_sidechain,
        coalesce(results.is_user_modified, false) as is_user_modified,

        ---------- dates and instants
        uses.occurred_at,
        results.occurred_at as answered_at,
        cast(uses.occurred_at as date) as occurred_date,
        cast({{ local_instant('uses.occurred_at', reporting_time_zone()) }} as date) as occurred_date_local,
        cast(extract(hour from {{ local_instant('uses.occurred_at', reporting_time_zone()) }}) as bigint)
            as hour_of_day_local
    from uses
    left join results
        on uses.tool_use_id = results.tool_use_id
)

select * from tool_usage
where {{ is_rebuilt('occurred_date') }}
