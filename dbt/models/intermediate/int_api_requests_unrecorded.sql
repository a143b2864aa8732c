{{ config(materialized='table') }}

with

events as (
    select * from {{ ref('int_api_request_matches') }}
    where match_type = 'event_only'
),

prices as (
    select * from {{ ref('int_model_prices_combined') }}
),

-- What an event does not tell takes the value of a line that does not: standard speed, 5-minute cache writes.
requests as (
    select
        request_key,
        cast(null as {{ string_type() }}) as message_key,
        session_key,
        model_key,
        request_key as response_source_id,
        request_id,
        session_id,
        model_name,
        model_prefix,
        model_family,
        {%- for column in [
            'agent_id', 'stop_reason', 'service_tier', 'inference_geo', 'permission_mode', 'effort', 'entrypoint',
            'git_branch', 'app_version', 'attribution_skill', 'attribution_plugin', 'attribution_mcp_server',
        ] %}
        cast(null as {{ string_type() }}) as {{ column }},
        {%- endfor %}
        'standard' as speed,
        'final' as usage_quality,
        input_tokens,
        output_tokens,
        cache_creation_tokens as cache_creation_5m_tokens,
        cast(0 as bigint) as cache_creation_1h_tokens,
        cache_read_tokens,
        input_tokens + cache_creation_tokens + cache_read_tokens as prompt_tokens,
        input_tokens + cache_creation_tokens + cache_read_tokens + output_tokens as total_tokens,
        output_tokens as estimated_output_tokens,
        cast(null as bigint) as thinking_tokens,
        cast(0 as bigint) as web_search_count,
        cast(0 as bigint) as line_count,
        cast(null as bigint) as reported_cost_nusd,
        false as is_sidechain,
        false as is_advisor,
        occurred_at,
        occurred_date,
        occurred_date_local,
        hour_of_day_local
    from events
),

{{ priced_requests('requests') }}

select * from requests_priced
