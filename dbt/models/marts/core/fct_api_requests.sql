-- A view: its parts are tables already, and an event that comes or goes may hand other requests another event, on
-- days that no line names, so that an increment by dates would have to write it whole.
{{ config(materialized='view') }}

with

requests_enriched as (
    select * from {{ ref('int_api_requests_enriched') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

requests as (
    select
        ---------- keys
        requests_enriched.request_key,
        requests_enriched.message_key,
        requests_enriched.session_key,
        sessions.project_key,
        requests_enriched.model_key,

        ---------- ids
        requests_enriched.request_id,
        requests_enriched.agent_id,

        ---------- attributes
        requests_enriched.model_name,
        requests_enriched.model_family,
        requests_enriched.stop_reason,
        requests_enriched.service_tier,
        requests_enriched.speed,
        requests_enriched.inference_geo,
        requests_enriched.usage_quality,
        requests_enriched.cost_status,
        requests_enriched.event_match_type,
        requests_enriched.request_status,
        requests_enriched.permission_mode,
        requests_enriched.effort,
        requests_enriched.entrypoint,
        requests_enriched.git_branch,
        requests_enriched.app_version,
        requests_enriched.attribution_skill,
        requests_enriched.attribution_plugin,
        requests_enriched.attribution_mcp_server,

        ---------- measures
        requests_enriched.input_tokens,
        requests_enriched.output_tokens,
        requests_enriched.cache_creation_5m_tokens,
        requests_enriched.cache_creation_1h_tokens,
        requests_enriched.cache_read_tokens,
        requests_enriched.total_tokens,
        requests_enriched.thinking_tokens,
        requests_enriched.estimated_output_tokens,
        requests_enriched.web_search_count,
        requests_enriched.line_count,
        requests_enriched.status_code,
        requests_enriched.attempt_number,
        requests_enriched.latency_ms,
        {{ nusd_to_usd('requests_enriched.input_cost_nusd') }} as estimated_input_cost_usd,
        {{ nusd_to_usd('requests_enriched.output_cost_nusd') }} as estimated_output_cost_usd,
        {{ nusd_to_usd('requests_enriched.cache_creation_cost_nusd') }}
            as estimated_cache_creation_cost_usd,
        {{ nusd_to_usd('requests_enriched.cache_read_cost_nusd') }}
            as estimated_cache_read_cost_usd,
        {{ nusd_to_usd('requests_enriched.web_search_cost_nusd') }}
            as estimated_web_search_cost_usd,
        {{ nusd_to_usd('requests_enriched.estimated_cost_nusd') }} as estimated_cost_usd,
        {{ nusd_to_usd('requests_enriched.known_reported_cost_nusd') }} as reported_cost_usd,
        {{ nusd_to_usd('requests_enriched.cache_savings_nusd') }} as cache_savings_usd,
        requests_enriched.hour_of_day_local,

        ---------- booleans
        requests_enriched.is_sidechain,
        requests_enriched.is_advisor,
        requests_enriched.is_transcribed,

        ---------- dates and instants
        requests_enriched.occurred_at,
        requests_enriched.occurred_date,
        requests_enriched.occurred_date_local
    from requests_enriched
    left join sessions
        on requests_enriched.session_id = sessions.session_id
)

select * from requests
