with

conversations as (
    select * from {{ ref('stg_conversations') }}
),

-- An agent_progress line carries a whole line of a subagent inside it; its instant and uuid are those
-- of the line inside, so that copy and original meet under one id. A prompt that was typed while Claude
-- worked is an attachment, since 2.1.90.
messages as (
    select
        ---------- ids
        record_id,
        session_id,
        agent_id,
        coalesce(progress_message_uuid, line_uuid, record_id) as line_id,
        {{ message_source_id('conversations') }} as message_source_id,
        message_id,
        request_id,
        prompt_id,

        ---------- attributes
        coalesce(
            progress_message_type,
            case when line_type = 'attachment' then 'user' else line_type end
        ) as role,
        model as model_name,
        stop_reason,
        service_tier,
        speed,
        inference_geo,
        leading_tag,
        command_name,
        prompt_source,
        origin_kind,
        permission_mode,
        effort,
        entrypoint,
        git_branch,
        app_version,
        attribution_skill,
        attribution_plugin,
        attribution_mcp_server,
        prompt_text,
        blocks,
        advisor_iterations,

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
        text_char_count,
        thinking_char_count,
        tool_input_char_count,
        image_count,

        ---------- booleans
        line_type = 'progress' as is_progress_copy,
        is_sidechain or line_type = 'progress' as is_sidechain,
        is_meta,
        is_compact_summary,
        is_api_error,
        has_usage,
        coalesce(progress_message_at, occurred_at) is not null as is_timed,

        ---------- dates and instants
        coalesce(progress_message_at, occurred_at, cast(record_date as {{ timestamp_type() }}))
            as occurred_at,
        limit_reset_at,
        record_date
    from conversations
    where
        line_type in ('user', 'assistant')
        or (line_type = 'progress' and progress_message_type in ('user', 'assistant'))
        or (line_type = 'attachment' and message_role = 'user')
)

select * from messages
