with

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
    where request_count = 1
),

-- As of the newest request and not of the clock: the same input gives the same rows, whenever it is asked.
newest_request as (
    {{ newest_of('usage_events', 'occurred_at', 'run_at') }}
),

newest_local as (
    select
        occurred_at as as_of,
        {{ local_instant('occurred_at', reporting_time_zone()) }} as local_as_of
    from newest_request
    where occurred_at is not null
),

-- Instants in UTC, for the clocks of a zone say some hours twice. A calendar period is one of the reporting zone.
periods as (
    {%- for period, minutes in [
        ('last_5_minutes', 5), ('last_hour', 60), ('last_24_hours', 1440),
    ] %}
    select
        '{{ period }}' as period_type,
        as_of,
        {{ add_minutes('as_of', -minutes) }} as period_started_at,
        as_of as period_ends_at
    from newest_local
    union all
    {%- endfor %}
    select
        'this_hour' as period_type,
        as_of,
        as_of - (local_as_of - date_trunc('hour', local_as_of)) as period_started_at,
        {{ add_minutes("as_of - (local_as_of - date_trunc('hour', local_as_of))", 60) }}
            as period_ends_at
    from newest_local
    union all
    {%- set day = "cast(date_trunc('day', local_as_of) as " ~ timestamp_type() ~ ")" %}
    select
        'today' as period_type,
        as_of,
        {{ first_utc_instant(day, reporting_time_zone()) }} as period_started_at,
        {{ first_utc_instant(add_minutes(day, 1440), reporting_time_zone()) }} as period_ends_at
    from newest_local
    union all
    {%- set month = "cast(date_trunc('month', local_as_of) as " ~ timestamp_type() ~ ")" %}
    select
        'this_month' as period_type,
        as_of,
        {{ first_utc_instant(month, reporting_time_zone()) }} as period_started_at,
        {{ first_utc_instant(add_month(month), reporting_time_zone()) }} as period_ends_at
    from newest_local
),

-- Both bounds are in: what a day begins with is of the day, and the newest request is of every period.
period_sums as (
    select
        periods.period_type,
        periods.as_of,
        periods.period_started_at,
        periods.period_ends_at,
        {{ milliseconds_between('periods.period_started_at', 'periods.as_of') }} as elapsed_ms,
        {{ milliseconds_between('periods.period_started_at', 'periods.period_ends_at') }}
            as period_ms,
        sum(usage_events.request_count) as request_count,
        sum(usage_events.unpriced_request_count) as unpriced_request_count,
        sum(usage_events.total_tokens) as total_tokens,
        sum(usage_events.estimated_cost_nusd) as estimated_cost_nusd
    from periods
    inner join usage_events
        on
            usage_events.occurred_at >= periods.period_started_at
            and usage_events.occurred_at <= periods.as_of
    group by
        periods.period_type,
        periods.as_of,
        periods.period_started_at,
        periods.period_ends_at
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
        elapsed_ms,
        period_ms,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd,
        case
            when period_ends_at <= as_of then {{ nusd_to_usd('estimated_cost_nusd') }}
            when elapsed_ms >= 60000
                then
                    cast(
                        cast({{ nusd_to_usd('estimated_cost_nusd') }} as double)
                        * period_ms
                        / elapsed_ms
                        as decimal(18, 9)
                    )
        end as projected_cost_usd,

        ---------- dates and instants
        as_of as newest_request_at,
        {{ local_date('period_started_at') }} as period_start_date_local
    from period_sums
)

select * from cost_projection
