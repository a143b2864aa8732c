with

-- 168 cells whatever happened: a heat map needs its empty ones.
weekdays as (
    select
        weekday_values.day_of_week,
        weekday_values.day_of_week_name
    from (
        values
        (1, 'Monday'), (2, 'Tuesday'), (3, 'Wednesday'), (4, 'Thursday'),
        (5, 'Friday'), (6, 'Saturday'), (7, 'Sunday')
    ) as weekday_values (day_of_week, day_of_week_name)
),

hours as (
    select hour_values.hour_of_day_local
    from (
        values
        (0), (1), (2), (3), (4), (5), (6), (7), (8), (9), (10), (11),
        (12), (13), (14), (15), (16), (17), (18), (19), (20), (21), (22), (23)
    ) as hour_values (hour_of_day_local)
),

messages as (
    select * from {{ ref('fct_messages') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
),

message_cells as (
    select
        {{ iso_weekday('occurred_date_local') }} as day_of_week,
        hour_of_day_local,
        count(*) as message_count,
        sum(case when is_human_prompt then 1 else 0 end) as human_prompt_count,
        count(distinct session_key) as session_count,
        count(distinct occurred_date_local) as active_day_count
    from messages
    group by {{ iso_weekday('occurred_date_local') }}, hour_of_day_local
),

request_cells as (
    select
        {{ iso_weekday('occurred_date_local') }} as day_of_week,
        hour_of_day_local,
        count(*) as request_count,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_usd) as estimated_cost_usd
    from requests
    group by {{ iso_weekday('occurred_date_local') }}, hour_of_day_local
),

tool_cells as (
    select
        {{ iso_weekday('occurred_date_local') }} as day_of_week,
        hour_of_day_local,
        count(*) as tool_call_count
    from tool_calls
    group by {{ iso_weekday('occurred_date_local') }}, hour_of_day_local
),

hourly_activity as (
    select
        ---------- attributes
        weekdays.day_of_week_name,
        {{ time_of_day('hours.hour_of_day_local') }} as time_of_day,

        ---------- measures
        cast(weekdays.day_of_week as bigint) as day_of_week,
        cast(hours.hour_of_day_local as bigint) as hour_of_day_local,
        cast(coalesce(message_cells.active_day_count, 0) as bigint) as active_day_count,
        cast(coalesce(message_cells.session_count, 0) as bigint) as session_count,
        cast(coalesce(message_cells.message_count, 0) as bigint) as message_count,
        cast(coalesce(message_cells.human_prompt_count, 0) as bigint) as human_prompt_count,
        cast(coalesce(request_cells.request_count, 0) as bigint) as request_count,
        cast(coalesce(tool_cells.tool_call_count, 0) as bigint) as tool_call_count,
        cast(coalesce(request_cells.total_tokens, 0) as bigint) as total_tokens,
        cast(
            case
                when request_cells.request_count is null then 0
                else request_cells.estimated_cost_usd
            end
            as decimal(18, 9)
        ) as estimated_cost_usd
    from weekdays
    cross join hours
    left join message_cells
        on
            weekdays.day_of_week = message_cells.day_of_week
            and hours.hour_of_day_local = message_cells.hour_of_day_local
    left join request_cells
        on
            weekdays.day_of_week = request_cells.day_of_week
            and hours.hour_of_day_local = request_cells.hour_of_day_local
    left join tool_cells
        on
            weekdays.day_of_week = tool_cells.day_of_week
            and hours.hour_of_day_local = tool_cells.hour_of_day_local
)

select * from hourly_activity
