{#- Both kinds of request have these; where they come from is all that tells them apart. -#}
{%- set columns = [
    'request_key', 'message_key', 'session_key', 'model_key', 'response_source_id', 'request_id', 'session_id',
    'agent_id', 'model_name', 'model_family', 'stop_reason', 'service_tier', 'speed', 'inference_geo',
    'usage_quality', 'cost_status', 'permission_mode', 'effort', 'entrypoint', 'git_branch', 'app_version',
    'attribution_skill', 'attribution_plugin', 'attribution_mcp_server', 'input_tokens', 'output_tokens',
    'cache_creation_5m_tokens', 'cache_creation_1h_tokens', 'cache_read_tokens', 'total_tokens', 'thinking_tokens',
    'estimated_output_tokens', 'web_search_count', 'line_count', 'input_cost_nusd', 'output_cost_nusd',
    'cache_creation_cost_nusd', 'cache_read_cost_nusd', 'web_search_cost_nusd', 'estimated_cost_nusd',
    'reported_cost_nusd', 'cache_savings_nusd', 'is_sidechain', 'is_advisor', 'occurred_at', 'occurred_date',
    'occurred_date_local', 'hour_of_day_local',
] -%}

with

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
),

unrecorded_requests as (
    select * from {{ ref('int_api_requests_unrecorded') }}
),

request_events as (
    select * from {{ ref('int_api_request_matches') }}
    where request_key is not null
),

requests as (
    select {{ columns | join(', ') }}, true as is_transcribed
    from responses
    union all
    select {{ columns | join(', ') }}, false as is_transcribed
    from unrecorded_requests
),

-- A request has one event of each kind at most, and who knows its id knows it best: the join adds no row.
events_ranked as (
    select
        *,
        row_number() over (
            partition by request_key order by known_by asc nulls last
        ) as telling_rank
    from request_events
),

requests_enriched as (
    select
        requests.*,
        coalesce(events.match_type, 'transcript') as event_match_type,
        events.request_status,
        events.status_code,
        events.attempt_number,
        events.latency_ms,
        -- The transcript speaks first: it is nearer to the request than a proxy.
        coalesce(requests.reported_cost_nusd, events.reported_cost_nusd)
            as known_reported_cost_nusd
    from requests
    left join events_ranked as events
        on requests.request_key = events.request_key and events.telling_rank = 1
)

select * from requests_enriched
