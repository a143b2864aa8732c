-- One row per local day, project, model, thread kind and tool.
with

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
),

tools as (
    select * from {{ ref('dim_tools') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

projects as (
    select * from {{ ref('dim_projects') }}
),

-- left join: a call whose response carried no usage has no request, and its model is unknown.
calls_named as (
    select
        ---------- attributes
        projects.project_path,
        coalesce(requests.model_name, 'unknown') as model_name,
        tool_calls.tool_name,
        tools.tool_category,

        ---------- measures
        cast(count(*) as bigint) as tool_call_count,
        cast(sum(case when tool_calls.outcome = 'success' then 1 else 0 end) as bigint) as success_count,
        cast(sum(case when tool_calls.outcome = 'error' then 1 else 0 end) as bigint) as failed_tool_call_count,
        cast(sum(case when tool_calls.outcome = 'rejected' then 1 else 0 end) as bigint) as rejected_count,
        cast(sum(case when tool_calls.outcome = 'interrupted' then 1 else 0 end) as bigint) as interrupted_count,
        cast(sum(case when tool_calls.outcome = 'unanswered' then 1 else 0 end) as bigint) as unanswered_count,
        cast(sum(case when tool_calls.outcome in ('success', 'error') then 1 else 0 end) as bigint)
            as judged_tool_call_count,
        cast(count(tool_calls.duration_ms) as bigint) as timed_tool_call_count,
        cast(coalesce(sum(tool_calls.duration_ms), 0) as bigint) as duration_ms,

        ---------- booleans
        tool_calls.is_sidechain,

        ---------- dates
        tool_calls.occurred_date_local as activity_date
    from tool_calls
    left join tools on tool_calls.tool_key = tools.tool_key
    left join requests on tool_calls.request_key = requests.request_key
    left join projects on tool_calls.project_key = projects.project_key
    group by
        projects.project_path, coalesce(requests.model_name, 'unknown'), tool_calls.tool_name,
        tools.tool_category, tool_calls.is_sidechain, tool_calls.occurred_date_local
)

select * from calls_named
