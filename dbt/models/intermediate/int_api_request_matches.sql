{{ config(materialized='table') }}

{%- set window_ms = 10000 -%}
{%- set rounds = 4 -%}

with

raw_events as (
    select * from {{ ref('stg_api_request_events') }}
),

responses as (
    select * from {{ ref('int_api_responses_deduplicated') }}
    where not is_advisor
),

models as (
    select * from {{ ref('int_models_resolved') }}
),

events_ranked as (
    select
        *,
        row_number() over (
            partition by record_id order by occurred_at asc nulls last, record_date asc nulls last
        ) as copy_rank
    from raw_events
),

events as (
    select
        events_ranked.*,
        models.model_key,
        models.model_version_name,
        models.model_prefix,
        models.model_family,
        coalesce(
            events_ranked.status = 'error' or events_ranked.event_type = 'api_error'
            or events_ranked.status_code >= 400,
            false
        ) as is_error,
        coalesce(events_ranked.latency_ms, 0) as latency_or_zero_ms
    from events_ranked
    left join models
        on coalesce(events_ranked.model_name, 'unknown') = models.model_name
    where events_ranked.copy_rank = 1
),

-- One id is one request, told again by every event that repeats it; what succeeded speaks for it.
events_once as (
    select
        *,
        case when request_id is null then 'time' else 'request_id' end as known_by,
        row_number() over (
            partition by coalesce(request_id, 'event ' || record_id)
            order by is_error asc nulls last, occurred_at asc nulls last, record_id asc nulls last
        ) as telling_rank
    from events
),

-- What events may be about: the responses of transcripts and, for events that know no id, those that do.
-- Two tellers of one request, a proxy and OpenTelemetry, must not make two of it.
known_requests as (
    select
        responses.request_key,
        responses.request_id,
        responses.session_id,
        models.model_version_name,
        responses.input_tokens,
        responses.output_tokens,
        responses.cache_creation_5m_tokens
        + responses.cache_creation_1h_tokens as cache_creation_tokens,
        responses.cache_read_tokens,
        responses.usage_quality = 'final' as is_final,
        true as is_transcribed,
        cast(0 as bigint) as latency_or_zero_ms,
        responses.occurred_at
    from responses
    left join models
        on responses.model_name = models.model_name
    union all
    select
        {{ surrogate_key(["'api_request_event'", 'events_once.record_id']) }} as request_key,
        events_once.request_id,
        events_once.session_id,
        events_once.model_version_name,
        coalesce(events_once.input_tokens, 0) as input_tokens,
        coalesce(events_once.output_tokens, 0) as output_tokens,
        coalesce(events_once.cache_creation_tokens, 0) as cache_creation_tokens,
        coalesce(events_once.cache_read_tokens, 0) as cache_read_tokens,
        true as is_final,
        false as is_transcribed,
        events_once.latency_or_zero_ms,
        events_once.occurred_at
    from events_once
    left join responses
        on events_once.request_id = responses.request_id
    where
        events_once.request_id is not null
        and events_once.telling_rank = 1
        and not events_once.is_error
        and responses.request_key is null
),

-- A failed attempt is no teller of the response that another one got, whatever id it has.
pairs_by_id as (
    select
        events_once.record_id,
        events_once.known_by,
        known_requests.request_key,
        'request_id' as match_type,
        1 as match_tier,
        abs({{ milliseconds_between('known_requests.occurred_at', 'events_once.occurred_at') }})
            as distance_ms
    from events_once
    inner join known_requests
        on events_once.request_id = known_requests.request_id
    where
        events_once.telling_rank = 1 and known_requests.is_transcribed and not events_once.is_error
),

-- A proxy tells the beginning or the end of a request, a transcript when its first block was written: they
-- lie at most the request's own duration apart, and 10 s for clocks. Tokens must agree; a line that was
-- written before the end knows only part of the output. A failure leaves no response to be met.
pairs_by_time as (
    select
        events_once.record_id,
        events_once.known_by,
        known_requests.request_key,
        case when known_requests.is_transcribed then 'time' else 'repeated' end as match_type,
        case when known_requests.output_tokens = events_once.output_tokens then 2 else 3 end
            as match_tier,
        abs({{ milliseconds_between('known_requests.occurred_at', 'events_once.occurred_at') }})
            as distance_ms
    from events_once
    inner join known_requests
        on
            events_once.model_version_name = known_requests.model_version_name
            and coalesce(events_once.input_tokens, 0) = known_requests.input_tokens
            and coalesce(events_once.cache_read_tokens, 0) = known_requests.cache_read_tokens
            and coalesce(events_once.cache_creation_tokens, 0)
            = known_requests.cache_creation_tokens
    where
        not events_once.is_error
        and events_once.telling_rank = 1
        and (
            events_once.request_id is null
            or (known_requests.request_id is null and known_requests.is_transcribed)
        )
        and (
            events_once.session_id is null
            or known_requests.session_id is null
            or events_once.session_id = known_requests.session_id
        )
        and (
            coalesce(events_once.output_tokens, 0) = known_requests.output_tokens
            or (
                not known_requests.is_final
                and known_requests.output_tokens < events_once.output_tokens
            )
        )
        and abs(
            {{ milliseconds_between('known_requests.occurred_at', 'events_once.occurred_at') }}
        )
        <= {{ window_ms }}
        + greatest(events_once.latency_or_zero_ms, known_requests.latency_or_zero_ms)
),

pairs as (
    select * from pairs_by_id
    union all
    select * from pairs_by_time
),

-- A request is told once by those that know its id and once by those that do not.
{{ closest_pairs(
    'pairs', 'record_id', ['request_key', 'known_by'], ['match_tier', 'distance_ms'], rounds
) }},

-- What still fits a free request after so many rounds is about one of them: better no latency than two requests.
events_left as (
    select record_id
    from pairs_{{ rounds + 1 }}
    group by record_id
),

events_judged as (
    select
        events_once.*,
        matches.request_key as matched_request_key,
        matches.distance_ms,
        {{ surrogate_key(["'api_request_event'", 'events_once.record_id']) }}
            as api_request_event_key,
        case
            when matches.match_type is not null then matches.match_type
            when events_once.telling_rank > 1 or events_left.record_id is not null then 'repeated'
            when events_once.is_error then 'failed'
            else 'event_only'
        end as match_type
    from events_once
    left join matches
        on events_once.record_id = matches.record_id
    left join events_left
        on events_once.record_id = events_left.record_id
),

events_matched as (
    select
        ---------- keys
        api_request_event_key,
        case match_type
            when 'request_id' then matched_request_key
            when 'time' then matched_request_key
            when 'event_only' then api_request_event_key
        end as request_key,
        {{ surrogate_key(["coalesce(session_id, 'unknown')"]) }} as session_key,
        model_key,

        ---------- ids
        record_id,
        request_id,
        coalesce(session_id, 'unknown') as session_id,

        ---------- attributes
        match_type,
        known_by,
        coalesce(model_name, 'unknown') as model_name,
        model_prefix,
        model_family,
        case when is_error then 'error' else coalesce(status, 'unknown') end as request_status,

        ---------- measures
        status_code,
        attempt_number,
        coalesce(input_tokens, 0) as input_tokens,
        coalesce(output_tokens, 0) as output_tokens,
        coalesce(cache_creation_tokens, 0) as cache_creation_tokens,
        coalesce(cache_read_tokens, 0) as cache_read_tokens,
        reported_cost_nusd,
        latency_ms,
        distance_ms,

        ---------- booleans
        is_timed,

        ---------- dates and instants
        occurred_at,
        cast(occurred_at as date) as occurred_date,
        {{ local_date('occurred_at') }} as occurred_date_local,
        {{ local_hour_of_day('occurred_at') }} as hour_of_day_local
    from events_judged
)

select * from events_matched
