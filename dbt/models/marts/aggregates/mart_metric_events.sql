with

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

failures as (
    select * from {{ ref('int_api_failures_combined') }}
),

sessions as (
    select * from {{ ref('dim_sessions') }}
),

metric_events as (
    select
        ---------- keys
        hook_event_key as metric_event_key,
        session_key,
        project_key,

        ---------- attributes
        event_name as event_type,
        event_category,
        case
            when is_failure or event_name = 'PermissionDenied' then 'error'
            when event_category = 'tool' then 'performance'
            when
                event_name like 'Subagent%'
                or event_name like 'Task%'
                or event_name = 'TeammateIdle'
                then 'coordination'
            else 'quality'
        end as metric_type,
        'hooks' as metric_source,
        model_name,
        tool_name,
        tags,

        ---------- measures
        duration_ms,
        cast(0 as bigint) as input_tokens,
        cast(0 as bigint) as output_tokens,
        cast(0 as bigint) as cache_creation_tokens,
        cast(0 as bigint) as cache_read_tokens,
        cast(0 as bigint) as total_tokens,
        cast(null as decimal(18, 9)) as estimated_cost_usd,

        ---------- booleans
        is_failure,
        is_sidechain,

        ---------- dates and instants
        occurred_at,
        occurred_date
    from hook_events
    union all
    select
        ---------- keys
        request_key as metric_event_key,
        session_key,
        project_key,

        ---------- attributes
        'ApiRequest' as event_type,
        'api' as event_category,
        'performance' as metric_type,
        case when is_transcribed then 'transcripts' else 'api_requests' end as metric_source,
        model_name,
        cast(null as {{ string_type() }}) as tool_name,
        case when is_sidechain then ' subagent' end as tags,

        ---------- measures
        latency_ms as duration_ms,
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens + cache_creation_1h_tokens as cache_creation_tokens,
        cache_read_tokens,
        total_tokens,
        estimated_cost_usd,

        ---------- booleans
        false as is_failure,
        is_sidechain,

        ---------- dates and instants
        occurred_at,
        occurred_date
    from requests
    union all
    select
        ---------- keys
        failures.api_failure_key as metric_event_key,
        failures.session_key,
        sessions.project_key,

        ---------- attributes
        'ApiRequestFailure' as event_type,
        'api' as event_category,
        'error' as metric_type,
        failures.failure_source as metric_source,
        failures.model_name,
        cast(null as {{ string_type() }}) as tool_name,
        ' failure' || {{ tag_if('failures.is_sidechain', 'subagent') }} as tags,

        ---------- measures
        failures.latency_ms as duration_ms,
        cast(0 as bigint) as input_tokens,
        cast(0 as bigint) as output_tokens,
        cast(0 as bigint) as cache_creation_tokens,
        cast(0 as bigint) as cache_read_tokens,
        cast(0 as bigint) as total_tokens,
        cast(null as decimal(18, 9)) as estimated_cost_usd,

        ---------- booleans
        true as is_failure,
        failures.is_sidechain,

        ---------- dates and instants
        failures.occurred_at,
        cast(failures.occurred_at as date) as occurred_date
    from failures
    left join sessions
        on failures.session_key = sessions.session_key
)

select * from metric_events
