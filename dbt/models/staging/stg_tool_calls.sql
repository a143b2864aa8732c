with

conversations as (
    select * from {{ ref('stg_conversations') }}
),

lines as (
    select * from conversations
    where
        blocks is not null
        and (
            line_type in ('user', 'assistant')
            or (line_type = 'progress' and progress_message_type in ('user', 'assistant'))
        )
),

tool_blocks as (
    select
        ---------- ids
        lines.record_id,
        lines.session_id,
        lines.agent_id,
        block.tool_use_id,
        {{ message_source_id('lines') }} as message_source_id,
        lines.result_agent_id,

        ---------- attributes
        block.block_type,
        block.tool_name,
        block.file_path,
        block.subagent_type,
        block.skill_name,
        block.error_marker,
        lines.result_shape,
        lines.result_operation,
        lines.result_file_path,
        lines.tool_denial_kind,
        lines.attribution_mcp_server,

        ---------- measures
        block.block_index,
        block.text_char_count,
        block.input_char_count,
        block.input_line_count,
        block.input_removed_line_count,
        block.input_edit_count,
        block.exit_code,
        lines.patch_added_line_count,
        lines.patch_removed_line_count,
        lines.patch_hunk_count,
        lines.result_content_line_count,
        lines.result_duration_ms,

        ---------- booleans
        block.is_error,
        lines.is_result_interrupted,
        lines.is_user_modified,
        lines.line_type = 'progress' as is_progress_copy,
        lines.is_sidechain or lines.line_type = 'progress' as is_sidechain,

        ---------- dates and instants
        coalesce(
            lines.progress_message_at,
            lines.occurred_at,
            cast(lines.record_date as {{ timestamp_type() }})
        ) as occurred_at,
        lines.record_date
    from {{ exploded('lines', 'blocks', 'block') }}
    where block.tool_use_id is not null and block.block_type in ('tool_use', 'tool_result')
)

select * from tool_blocks
