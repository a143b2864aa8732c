with

events as (
    select * from {{ ref('int_api_request_matches') }}
    where match_type = 'failed'
),

sessions_seen as (
    select distinct session_key from events
),

-- A line of its own tells of an attempt that Claude Code made again, and a message of the one after which it gave up.
system_lines as (
    select * from {{ ref('int_system_lines_deduplicated') }}
    where line_subtype = 'api_error'
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where message_kind = 'api_error'
),

failures_transcribed as (
    select
        system_line_key as api_failure_key,
        session_key,
        is_sidechain,
        occurred_at
    from system_lines
    union all
    select
        message_key as api_failure_key,
        session_key,
        is_sidechain,
        occurred_at
    from messages
),

-- Both may tell of one attempt, and nothing in them says so: of a session whose failures a proxy or telemetry saw,
-- these alone count.
failures_combined as (
    select
        ---------- keys
        api_request_event_key as api_failure_key,
        session_key,

        ---------- attributes
        'api_requests' as failure_source,
        model_name,

        ---------- measures
        latency_ms,

        ---------- booleans
        false as is_sidechain,

        ---------- dates and instants
        occurred_at
    from events
    union all
    select
        ---------- keys
        failures_transcribed.api_failure_key,
        failures_transcribed.session_key,

        ---------- attributes
        'transcripts' as failure_source,
        cast(null as {{ string_type() }}) as model_name,

        ---------- measures
        cast(null as bigint) as latency_ms,

        ---------- booleans
        failures_transcribed.is_sidechain,

        ---------- dates and instants
        failures_transcribed.occurred_at
    from failures_transcribed
    left join sessions_seen
        on failures_transcribed.session_key = sessions_seen.session_key
    where sessions_seen.session_key is null
)

select * from failures_combined
