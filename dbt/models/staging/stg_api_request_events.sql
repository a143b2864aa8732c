with

records as (
    select * from {{ source('raw', 'api_requests') }}
),

api_request_events as (
    select
        ---------- ids
        record_id,
        nullif(session_id, '') as session_id,
        nullif(request_id, '') as request_id,

        ---------- attributes
        event_type,
        nullif(model, '') as model_name,
        provider,
        status,

        ---------- measures
        status_code,
        attempt_number,
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_read_tokens,
        reported_cost_nusd,
        latency_ms,
        error_char_count,

        ---------- booleans
        occurred_at is not null as is_timed,

        ---------- dates and instants
        coalesce(occurred_at, cast(record_date as {{ timestamp_type() }})) as occurred_at,
        record_date
    from records
)

select * from api_request_events
