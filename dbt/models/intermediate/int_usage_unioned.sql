-- Requests and API errors side by side, so that every usage aggregate counts both from one place.
with

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where message_kind = 'api_error'
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

events as (
    select
        session_id,
        model_key,
        is_sidechain,
        1 as request_count,
        0 as api_error_count,
        case when cost_status = 'unpriced' then 1 else 0 end as unpriced_request_count,
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens,
        cache_creation_1h_tokens,
        cache_read_tokens,
        total_tokens,
        estimated_cost_nusd,
        known_reported_cost_nusd as reported_cost_nusd,
        cache_savings_nusd,
        occurred_at,
        occurred_date_local
    from responses
    union all
    select
        session_id,
        {{ surrogate_key(["'unknown'"]) }} as model_key,
        is_sidechain,
        0 as request_count,
        1 as api_error_count,
        0 as unpriced_request_count,
        0 as input_tokens,
        0 as output_tokens,
        0 as cache_creation_5m_tokens,
        0 as cache_creation_1h_tokens,
        0 as cache_read_tokens,
        0 as total_tokens,
        null as estimated_cost_nusd,
        null as reported_cost_nusd,
        null as cache_savings_nusd,
        occurred_at,
        occurred_date_local
    from messages
),

usage_unioned as (
    select
        events.*,
        sessions.project_key
    from events
    left join sessions
        on events.session_id = sessions.session_id
)

select * from usage_unioned
