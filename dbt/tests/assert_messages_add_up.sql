-- Messages, sessions, projects, days and hours of the week count the same messages.
with

totals as (
    select
        'fct_messages' as told_by,
        count(*) as message_count
    from {{ ref('fct_messages') }}
    {%- for table in [
        'dim_sessions', 'dim_projects', 'agg_session_metrics', 'agg_daily_summary', 'agg_hourly_activity',
    ] %}
    union all
    select
        '{{ table }}' as told_by,
        coalesce(sum(message_count), 0) as message_count
    from {{ ref(table) }}
    {%- endfor %}
),

messages as (
    select * from totals
    where told_by = 'fct_messages'
),

differences as (
    select
        totals.told_by,
        totals.message_count
    from totals
    cross join messages
    where totals.message_count <> messages.message_count
)

select * from differences
