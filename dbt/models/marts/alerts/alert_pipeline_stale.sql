-- Nothing happened for days as of the last run: nobody worked, or the sources are no longer read. The sample's days are
-- always past, which tells nobody anything.
with

thresholds as (
    select * from {{ ref('int_alert_thresholds_combined') }}
),

build_settings as (
    select * from {{ ref('int_build_settings') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
),

requests as (
    select * from {{ ref('int_api_requests_unrecorded') }}
),

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

-- Not of sessions, whose end one record of a clock that is ahead would hide.
records as (
    select max(messages.occurred_at) as occurred_at
    from messages
    inner join build_settings on messages.occurred_at <= build_settings.run_at
    union all
    select max(requests.occurred_at) as occurred_at
    from requests
    inner join build_settings on requests.occurred_at <= build_settings.run_at
    union all
    select max(hook_events.occurred_at) as occurred_at
    from hook_events
    inner join build_settings on hook_events.occurred_at <= build_settings.run_at
),

measurements as (
    select
        'newest record' as subject_name,
        {{ milliseconds_between('max(records.occurred_at)', 'max(build_settings.run_at)') }}
        / 3600000.0e0
            as measured_value,
        cast(max(records.occurred_at) as date) as measured_date
    from records
    cross join build_settings
    where not build_settings.is_synthetic
    having max(records.occurred_at) is not null
),

firings as (
    {{ alert_firings('alert_pipeline_stale', 'hours') }}
)

select * from firings
