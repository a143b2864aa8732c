-- Whole, not by dates: an event that comes or goes may hand other requests another event, on days that no line names.
with

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

requests as (
    select
        ---------- keys
        responses.request_key,
        responses.message_key,
        responses.session_key,
        sessions.project_key,
        responses.model_key,

        ---------- ids
        responses.request_id,
        responses.agent_id,

        ---------- attributes
        responses.model_name,
        responses.model_family,
        responses.stop_reason,
        responses.service_tier,
        responses.speed,
        responses.inference_geo,
        responses.usage_quality,
        responses.cost_status,
        responses.event_match_type,
        responses.request_status,
        responses.permission_mode,
        responses.effort,
        responses.entrypoint,
        responses.git_branch,
        responses.app_version,
        responses.attribution_skill,
        responses.attribution_plugin,
        responses.attribution_mcp_server,

        ---------- measures
        responses.input_tokens,
        responses.output_tokens,
        responses.cache_creation_5m_tokens,
        responses.cache_creation_1h_tokens,
        responses.cache_read_tokens,
        responses.total_tokens,
        responses.thinking_tokens,
        responses.estimated_output_tokens,
        responses.web_search_count,
        responses.line_count,
        responses.status_code,
        responses.attempt_number,
        responses.latency_ms,
        {{ nusd_to_usd('responses.input_cost_nusd') }} as estimated_input_cost_usd,
        {{ nusd_to_usd('responses.output_cost_nusd') }} as estimated_output_cost_usd,
        {{ nusd_to_usd('responses.cache_creation_cost_nusd') }} as estimated_cache_creation_cost_usd,
        {{ nusd_to_usd('responses.cache_read_cost_nusd') }} as estimated_cache_read_cost_usd,
        {{ nusd_to_usd('responses.web_search_cost_nusd') }} as estimated_web_search_cost_usd,
        {{ nusd_to_usd('responses.estimated_cost_nusd') }} as estimated_cost_usd,
        {{ nusd_to_usd('responses.known_reported_cost_nusd') }} as reported_cost_usd,
        {{ nusd_to_usd('responses.cache_savings_nusd') }} as cache_savings_usd,
        responses.hour_of_day_local,

        ---------- booleans
        responses.is_sidechain,
        responses.is_advisor,

        ---------- dates and instants
        responses.occurred_at,
        responses.occurred_date,
        responses.occurred_date_local
    from responses
    left join sessions
        on responses.session_id = sessions.session_id
)

select * from requests
