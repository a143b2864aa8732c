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
        row_number() over (partition by record_id order by occurred_at asc, record_date asc) as copy_rank
    from raw_events
),

-- A model's name in the spelling of int_models_resolved, which knows only names that transcripts hold.
events_undecorated as (
    select
        *,
        case
            when lower(model_name) like '%claude-%'
                then
                    replace(
                        replace(
                            split_part(
                                split_part(regexp_extract(lower(model_name), '(claude-.*)$', 1), '[', 1), ':', 1
                            ),
                            '@', '-'
                        ),
                        '.', '-'
                    )
            else split_part(split_part({{ last_path_part('lower(model_name)') }}, '[', 1), ':', 1)
        end as dated_name
    from events_ranked
    where copy_rank = 1
),

events as (
    select
        *,
        regexp_replace(
            regexp_replace(dated_name, '-20[0-9][0-9][0-9][0-9][0-9][0-9](-.*)?$', ''), '-v[0-9]+$', ''
        ) as model_version_name,
        coalesce(
            status = 'error' or event_type = 'api_error' or status_code >= 400, false
        ) as is_error,
        coalesce(latency_ms, 0) as latency_or_zero_ms
    from events_undecorated
),

responses_versioned as (
    select
        responses.*,
        models.model_version_name,
        responses.cache_creation_5m_tokens + responses.cache_creation_1h_tokens as cache_creation_tokens
    from responses
    left join models
        on responses.model_name = models.model_name
),

pairs_by_id as (
    select
        events.record_id,
        responses_versioned.request_key,
        'request_id' as match_type,
        1 as match_tier,
        abs({{ milliseconds_between('responses_versioned.occurred_at', 'events.occurred_at') }}) as distance_ms
    from events
    inner join responses_versioned
        on events.request_id = responses_versioned.request_id
),

-- A proxy tells the beginning or the end of a request, a transcript when its first block was written: they
-- lie at most the request's own duration apart, and 10 s for clocks. Tokens must agree; a line that was
-- written before the end knows only part of the output. A failure leaves no response to be met.
pairs_by_time as (
    select
        events.record_id,
        responses_versioned.request_key,
        'time' as match_type,
        case when responses_versioned.output_tokens = events.output_tokens then 2 else 3 end as match_tier,
        abs({{ milliseconds_between('responses_versioned.occurred_at', 'events.occurred_at') }}) as distance_ms
    from events
    inner join responses_versioned
        on
            events.model_version_name = responses_versioned.model_version_name
            and events.input_tokens = responses_versioned.input_tokens
            and coalesce(events.cache_read_tokens, 0) = responses_versioned.cache_read_tokens
            and coalesce(events.cache_creation_tokens, 0) = responses_versioned.cache_creation_tokens
    where
        not events.is_error
        and (events.request_id is null or responses_versioned.request_id is null)
        and (events.session_id is null or events.session_id = responses_versioned.session_id)
        and (
            events.output_tokens = responses_versioned.output_tokens
            or (
                responses_versioned.usage_quality <> 'final'
                and responses_versioned.output_tokens < events.output_tokens
            )
        )
        and abs({{ milliseconds_between('responses_versioned.occurred_at', 'events.occurred_at') }})
        <= {{ window_ms }} + events.latency_or_zero_ms
),

pairs as (
    select * from pairs_by_id
    union all
    select * from pairs_by_time
),

-- Closest first, each side once: where an event and a response are each other's best they are a match, and
-- the rest go on without them. One order of all pairs makes this the greedy choice, whatever the order of rows.
{% for round in range(1, rounds + 1) -%}
{%- set remaining = 'pairs' if loop.first else 'pairs_' ~ round -%}
{%- if not loop.first %}
pairs_{{ round }} as (
    select {{ 'pairs' if round == 2 else 'pairs_' ~ (round - 1) }}.*
    from {{ 'pairs' if round == 2 else 'pairs_' ~ (round - 1) }}
    left join matches_{{ round - 1 }} as event_matches
        on {{ 'pairs' if round == 2 else 'pairs_' ~ (round - 1) }}.record_id = event_matches.record_id
    left join matches_{{ round - 1 }} as response_matches
        on {{ 'pairs' if round == 2 else 'pairs_' ~ (round - 1) }}.request_key = response_matches.request_key
    where event_matches.record_id is null and response_matches.request_key is null
),
{% endif %}
ranks_{{ round }} as (
    select
        *,
        row_number() over (
            partition by record_id order by match_tier asc, distance_ms asc, record_id asc, request_key asc
        ) as event_rank,
        row_number() over (
            partition by request_key order by match_tier asc, distance_ms asc, record_id asc, request_key asc
        ) as response_rank
    from {{ remaining }}
),

matches_{{ round }} as (
    select
        record_id,
        request_key,
        match_type,
        distance_ms
    from ranks_{{ round }}
    where event_rank = 1 and response_rank = 1
),

{% endfor -%}
matches as (
    {%- for round in range(1, rounds + 1) %}
    select * from matches_{{ round }}
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
),

events_matched as (
    select
        ---------- keys
        {{ surrogate_key(["'api_request_event'", 'events.record_id']) }} as api_request_event_key,
        matches.request_key,

        ---------- ids
        events.record_id,
        events.request_id,
        events.session_id,

        ---------- attributes
        coalesce(matches.match_type, 'unmatched') as match_type,
        coalesce(events.model_name, 'unknown') as model_name,
        events.provider,
        case when events.is_error then 'error' else coalesce(events.status, 'unknown') end as request_status,

        ---------- measures
        events.status_code,
        events.attempt_number,
        coalesce(events.input_tokens, 0) as input_tokens,
        coalesce(events.output_tokens, 0) as output_tokens,
        coalesce(events.cache_creation_tokens, 0) as cache_creation_tokens,
        coalesce(events.cache_read_tokens, 0) as cache_read_tokens,
        events.reported_cost_nusd,
        events.latency_ms,
        events.error_char_count,
        matches.distance_ms,

        ---------- booleans
        events.is_error,

        ---------- dates and instants
        events.occurred_at,
        cast(events.occurred_at as date) as occurred_date,
        cast({{ local_instant('events.occurred_at', reporting_time_zone()) }} as date) as occurred_date_local,
        cast(extract(hour from {{ local_instant('events.occurred_at', reporting_time_zone()) }}) as bigint)
            as hour_of_day_local
    from events
    left join matches
        on events.record_id = matches.record_id
)

select * from events_matched
