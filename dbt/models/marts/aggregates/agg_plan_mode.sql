with

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
    where {{ is_plan_mode_tool('tool_name') }}
),

calls_judged as (
    select
        *,
        case when tool_name <> 'EnterPlanMode' then {{ plan_verdict('outcome') }} end as verdict
    from tool_calls
),

plan_mode as (
    select
        ---------- keys
        session_key,
        project_key,

        ---------- measures
        cast(count(*) - count(verdict) as bigint) as entered_count,
        cast(count(verdict) as bigint) as plan_count,
        cast(sum(case when verdict = 'accepted' then 1 else 0 end) as bigint)
            as accepted_plan_count,
        cast(sum(case when verdict = 'refused' then 1 else 0 end) as bigint) as refused_plan_count,
        cast(sum(case when verdict = 'open' then 1 else 0 end) as bigint) as open_plan_count,
        -- Not duration_ms, which hooks tell without the time that a person thinks.
        cast(
            sum(
                case
                    when verdict is null or answered_at is null then null
                    when answered_at <= occurred_at then 0
                    else {{ milliseconds_between('occurred_at', 'answered_at') }}
                end
            ) as bigint
        ) as decision_ms,

        ---------- dates and instants
        min(occurred_at) as first_planned_at
    from calls_judged
    group by session_key, project_key
)

select * from plan_mode
