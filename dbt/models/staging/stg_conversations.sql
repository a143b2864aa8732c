with

lines as (
    select * from {{ source('raw', 'conversations') }}
),

-- Empty ids become null, or lines that lack an id would be copies of each other; so do empty folders, which are
-- not the root; flags become false.
records as (
    select
        ---------- ids
        record_id,
        source,
        source_record_id,
        coalesce(nullif(session_id, ''), 'unknown') as session_id,
        nullif(line_uuid, '') as line_uuid,
        nullif(agent_id, '') as agent_id,
        nullif(message_id, '') as message_id,
        nullif(request_id, '') as request_id,
        nullif(request_session_id, '') as request_session_id,
        prompt_id,
        nullif(progress_message_uuid, '') as progress_message_uuid,
        result_agent_id,

        ---------- attributes
        line_type,
        line_subtype,
        nullif(cwd, '') as cwd,
        nullif(git_branch, '') as git_branch,
        app_version,
        entrypoint,
        prompt_source,
        origin_kind,
        permission_mode,
        effort,
        attribution_skill,
        attribution_plugin,
        attribution_mcp_server,
        attribution_mcp_tool,
        message_role,
        nullif(model, '') as model,
        stop_reason,
        progress_message_type,
        service_tier,
        speed,
        inference_geo,
        advisor_iterations,
        content_shape,
        blocks,
        leading_tag,
        command_name,
        prompt_text,
        result_shape,
        result_operation,
        result_file_path,
        result_agent_type,
        result_status,
        tool_denial_kind,
        compact_trigger,
        pr_repository,
        pr_url,

        ---------- measures
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_creation_5m_tokens,
        cache_creation_1h_tokens,
        cache_read_tokens,
        thinking_tokens,
        web_search_count,
        web_fetch_count,
        reported_cost_nusd,
        session_cost_nusd,
        text_char_count,
        thinking_char_count,
        tool_input_char_count,
        image_count,
        patch_added_line_count,
        patch_removed_line_count,
        patch_hunk_count,
        result_content_line_count,
        result_duration_ms,
        compact_pre_tokens,
        compact_post_tokens,
        duration_ms,
        retry_attempt,
        retry_in_ms,
        pr_number,

        ---------- booleans
        coalesce(is_sidechain, false) as is_sidechain,
        coalesce(is_meta, false) as is_meta,
        coalesce(is_compact_summary, false) as is_compact_summary,
        coalesce(is_api_error, false) as is_api_error,
        coalesce(has_usage, false) as has_usage,
        coalesce(is_result_interrupted, false) as is_result_interrupted,
        coalesce(is_user_modified, false) as is_user_modified,

        ---------- dates and instants
        occurred_at,
        record_date,
        progress_message_at,
        limit_reset_at,

        ---------- pipeline
        _source_file,
        _source_position,
        _extracted_at,
        _run_id
    from lines
)

select * from records
