with

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
    where tool_name in ('EnterPlanMode', 'ExitPlanMode', 'exit_plan_mode')
),

-- A plan that is not accepted comes back as an error of ExitPlanMode: it says "no", not "broken".
plan_mode as (
    select
        ---------- keys
        session_key,
        project_key,

        ---------- measures
        cast(sum(case when tool_name = 'EnterPlanMode' then 1 else 0 end) as bigint) as entered_count,
        cast(sum(case when tool_name <> 'EnterPlanMode' then 1 else 0 end) as bigint) as plan_count,
        cast(sum(case when tool_name <> 'EnterPlanMode' and outcome = 'success' then 1 else 0 end) as bigint)
            as accepted_plan_count,
        cast(
            sum(case when tool_name <> 'EnterPlanMode' and outcome in ('error', 'rejected') then 1 else 0 end)
            as bigint
        ) as refused_plan_count,
        cast(
            sum(
                case
                    when tool_name <> 'EnterPlanMode' and outcome not in ('success', 'error', 'rejected') then 1
                    else 0
                end
            ) as bigint
        ) as open_plan_count,
        -- Not duration_ms, which hooks tell without the time that a person thinks.
        cast(
            sum(
                case
                    when tool_name = 'EnterPlanMode' or answered_at is null then null
                    when answered_at <= occurred_at then 0
                    else {{ milliseconds_between('occurred_at', 'answered_at') }}
                end
            ) as bigint
        ) as decision_ms,

        ---------- dates and instants
        min(occurred_at) as first_planned_at
    from tool_calls
    group by session_key, project_key
)

select * from plan_mode
