with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
    where request_count = 1
),

-- As of the newest request and not of the clock: the same input gives the same rows, whenever it is asked.
newest_request as (
    select max(occurred_at) as as_of from usage_events
),

newest_local as (
    select
        as_of,
        {{ local_instant('as_of', reporting_time_zone()) }} as local_as_of
    from newest_request
    where as_of is not null
),

periods as (
    select
        'last_5_minutes' as period_type,
        as_of,
        {{ add_minutes('local_as_of', -5) }} as period_started_at_local,
        local_as_of as period_ends_at_local,
        local_as_of
    from newest_local
    union all
    select
        'last_hour' as period_type,
        as_of,
        {{ add_minutes('local_as_of', -60) }} as period_started_at_local,
        local_as_of as period_ends_at_local,
        local_as_of
    from newest_local
    union all
    select
        'last_24_hours' as period_type,
        as_of,
        {{ add_minutes('local_as_of', -1440) }} as period_started_at_local,
        local_as_of as period_ends_at_local,
        local_as_of
    from newest_local
    union all
    select
        'this_hour' as period_type,
        as_of,
        date_trunc('hour', local_as_of) as period_started_at_local,
        {{ add_minutes("date_trunc('hour', local_as_of)", 60) }} as period_ends_at_local,
        local_as_of
    from newest_local
    union all
    select
        'today' as period_type,
        as_of,
        cast(date_trunc('day', local_as_of) as {{ timestamp_type() }}) as period_started_at_local,
        {{ add_minutes("cast(date_trunc('day', local_as_of) as " ~ timestamp_type() ~ ")", 1440) }}
            as period_ends_at_local,
        local_as_of
    from newest_local
    union all
    select
        'this_month' as period_type,
        as_of,
        cast(date_trunc('month', local_as_of) as {{ timestamp_type() }}) as period_started_at_local,
        {{ add_month("date_trunc('month', local_as_of)") }} as period_ends_at_local,
        local_as_of
    from newest_local
),

usage_local as (
    select
        request_count,
        unpriced_request_count,
        total_tokens,
        estimated_cost_nusd,
        occurred_at,
        {{ local_instant('occurred_at', reporting_time_zone()) }} as occurred_at_local
    from usage_events
),

-- The window is open at its start and closed at its end, so that the newest request is in.
period_sums as (
    select
        periods.period_type,
        periods.as_of,
        periods.local_as_of,
        periods.period_started_at_local,
        periods.period_ends_at_local,
        sum(usage_local.request_count) as request_count,
        sum(usage_local.unpriced_request_count) as unpriced_request_count,
        sum(usage_local.total_tokens) as total_tokens,
        coalesce(sum(usage_local.estimated_cost_nusd), 0) as estimated_cost_nusd
    from periods
    inner join usage_local
        on
            usage_local.occurred_at_local >= periods.period_started_at_local
            and usage_local.occurred_at_local <= periods.local_as_of
    group by
        periods.period_type,
        periods.as_of,
        periods.local_as_of,
        periods.period_started_at_local,
        periods.period_ends_at_local
),

-- Linear: what the elapsed part cost, stretched over the whole. Under a minute of it says nothing.
cost_projection as (
    select
        ---------- attributes
        period_type,

        ---------- measures
        cast(request_count as bigint) as request_count,
        cast(unpriced_request_count as bigint) as unpriced_request_count,
        cast(total_tokens as bigint) as total_tokens,
        {{ milliseconds_between('period_started_at_local', 'local_as_of') }} as elapsed_ms,
        {{ milliseconds_between('period_started_at_local', 'period_ends_at_local') }} as period_ms,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd,
        case
            when period_ends_at_local <= local_as_of then {{ nusd_to_usd('estimated_cost_nusd') }}
            when {{ milliseconds_between('period_started_at_local', 'local_as_of') }} >= 60000
                then
                    cast(
                        cast({{ nusd_to_usd('estimated_cost_nusd') }} as double)
                        * {{ milliseconds_between('period_started_at_local', 'period_ends_at_local') }}
                        / {{ milliseconds_between('period_started_at_local', 'local_as_of') }} as decimal(18, 9)
                    )
        end as projected_cost_usd,

        ---------- dates and instants
        as_of as newest_request_at,
        cast(period_started_at_local as date) as period_start_date_local
    from period_sums
)

select * from cost_projection
