with

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
),

-- An event tells of one response at most, and a response has one event at most: the join adds no row.
events as (
    select * from {{ ref('int_api_request_matches') }}
    where request_key is not null
),

requests_enriched as (
    select
        responses.*,
        coalesce(events.match_type, 'transcript') as event_match_type,
        events.request_status,
        events.status_code,
        events.attempt_number,
        events.latency_ms,
        -- The transcript speaks first: it is nearer to the request than a proxy.
        coalesce(responses.reported_cost_nusd, events.reported_cost_nusd) as known_reported_cost_nusd
    from responses
    left join events
        on responses.request_key = events.request_key
)

select * from requests_enriched
