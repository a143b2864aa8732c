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
-- Counted by keys and named afterwards, which takes half the time.
calls_counted as (
    select
        ---------- keys
        tool_calls.project_key,
        tool_calls.tool_key,

        ---------- attributes
        requests.model_name as request_model_name,

        ---------- measures
        count(*) as tool_call_count,
        count(*) filter (where tool_calls.outcome = 'success') as success_count,
        count(*) filter (where tool_calls.outcome = 'error') as failed_tool_call_count,
        count(*) filter (where tool_calls.outcome = 'rejected') as rejected_count,
        count(*) filter (where tool_calls.outcome = 'interrupted') as interrupted_count,
        count(*) filter (where tool_calls.outcome = 'unanswered') as unanswered_count,
        count(tool_calls.duration_ms) as timed_tool_call_count,
        cast(coalesce(sum(tool_calls.duration_ms), 0) as bigint) as duration_ms,

        ---------- booleans
        tool_calls.is_sidechain,

        ---------- dates
        tool_calls.occurred_date_local
    from tool_calls
    left join requests on tool_calls.request_key = requests.request_key
    group by
        tool_calls.project_key, tool_calls.tool_key, requests.model_name, tool_calls.is_sidechain,
        tool_calls.occurred_date_local
),

calls_named as (
    select
        ---------- attributes
        projects.project_path,
        coalesce(calls_counted.request_model_name, 'unknown') as model_name,
        tools.tool_name,
        tools.tool_category,

        ---------- measures
        calls_counted.tool_call_count,
        calls_counted.success_count,
        calls_counted.failed_tool_call_count,
        calls_counted.rejected_count,
        calls_counted.interrupted_count,
        calls_counted.unanswered_count,
        calls_counted.success_count + calls_counted.failed_tool_call_count as judged_tool_call_count,
        calls_counted.timed_tool_call_count,
        calls_counted.duration_ms,

        ---------- booleans
        calls_counted.is_sidechain,

        ---------- dates
        calls_counted.occurred_date_local as activity_date
    from calls_counted
    left join tools on calls_counted.tool_key = tools.tool_key
    left join projects on calls_counted.project_key = projects.project_key
)

select * from calls_named
