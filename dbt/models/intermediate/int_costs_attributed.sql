{{ config(materialized='incremental', replaces='sessions') }}

-- Each dimension shares out every request exactly once, so each adds up to the whole. Where a request has
-- nothing to be attributed to, it goes to 'none' and stays visible.
with

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
    where {{ is_rebuilt_session('session_id') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt_session('session_id') }}
),

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt_session('session_id') }}
),

pull_requests as (
    select * from {{ ref('int_pull_requests_assigned') }}
    where {{ is_rebuilt_session('session_id') }}
),

-- What a person last asked for before a request, in the same session; subagents work for it too.
asks as (
    select
        session_id,
        message_source_id as event_id,
        0 as event_order,
        occurred_at,
        coalesce(task_category, 'command') as task_category,
        coalesce(command_name, 'none') as command_name
    from messages
    where message_kind in ('human_prompt', 'command')
    union all
    select
        session_id,
        response_source_id as event_id,
        1 as event_order,
        occurred_at,
        null as task_category,
        null as command_name
    from responses
),

asks_numbered as (
    select
        *,
        count(task_category) over (
            partition by session_id
            order by
                occurred_at asc nulls last, event_order asc nulls last, event_id asc nulls last
            rows between unbounded preceding and current row
        ) as ask_number
    from asks
),

asks_carried as (
    select
        event_id,
        event_order,
        max(task_category) over (partition by session_id, ask_number) as task_category,
        max(command_name) over (partition by session_id, ask_number) as command_name
    from asks_numbered
),

subagents as (
    select
        session_id,
        result_agent_id as agent_id,
        max(subagent_type) as subagent_type
    from tool_usage
    where result_agent_id is not null
    group by session_id, result_agent_id
),

responses_described as (
    select
        responses.*,
        asks_carried.task_category,
        asks_carried.command_name,
        pull_requests.pr_url,
        case
            when responses.is_transcribed and not responses.is_sidechain then 'main thread'
            else coalesce(subagents.subagent_type, 'unknown')
        end as subagent_type
    from responses
    left join asks_carried
        on responses.response_source_id = asks_carried.event_id and asks_carried.event_order = 1
    left join pull_requests
        on responses.request_key = pull_requests.request_key
    left join subagents
        on responses.session_id = subagents.session_id and responses.agent_id = subagents.agent_id
),

-- A response that calls several tools is shared out in equal parts, to the nano-dollar: the n-th part is
-- what is left of n parts after n - 1.
response_tools as (
    select
        -- A response and its message have one key: both are made from the response's id.
        message_key as request_key,
        tool_name,
        cast(
            row_number()
                over (partition by message_key order by tool_use_id asc nulls last)
            as bigint
        ) as part_number,
        cast(count(*) over (partition by message_key) as bigint) as part_count
    from tool_usage
),

tool_shares as (
    select
        responses.request_key,
        responses.session_id,
        'tool' as dimension_type,
        coalesce(response_tools.tool_name, 'none') as dimension_value,
        coalesce(response_tools.part_number, 1) as part_number,
        coalesce(response_tools.part_count, 1) as part_count,
        responses.total_tokens,
        responses.estimated_cost_nusd
    from responses
    left join response_tools
        on responses.request_key = response_tools.request_key
),

shares as (
    select
        session_id,
        dimension_type,
        dimension_value,
        case when part_number = 1 then 1 else 0 end as request_count,
        {{ nth_part('total_tokens', 'part_number', 'part_count') }} as total_tokens,
        {{ nth_part('estimated_cost_nusd', 'part_number', 'part_count') }} as estimated_cost_nusd
    from tool_shares
    {%- for dimension_type, column in [
        ('model_family', 'model_family'),
        ('subagent_type', 'subagent_type'),
        ('task_category', 'task_category'),
        ('slash_command', 'command_name'),
        ('skill', 'attribution_skill'),
        ('plugin', 'attribution_plugin'),
        ('mcp_server', 'attribution_mcp_server'),
        ('git_branch', 'git_branch'),
        ('pull_request', 'pr_url'),
        ('entrypoint', 'entrypoint'),
        ('permission_mode', 'permission_mode'),
        ('effort', 'effort'),
        ('app_version', 'app_version'),
    ] %}
    union all
    select
        session_id,
        '{{ dimension_type }}' as dimension_type,
        coalesce({{ column }}, 'none') as dimension_value,
        1 as request_count,
        total_tokens,
        estimated_cost_nusd
    from responses_described
    {%- endfor %}
),

costs_attributed as (
    select
        ---------- ids
        session_id,

        ---------- attributes
        dimension_type,
        dimension_value,

        ---------- measures
        cast(sum(request_count) as bigint) as request_count,
        cast(sum(total_tokens) as bigint) as total_tokens,
        cast(sum(estimated_cost_nusd) as bigint) as estimated_cost_nusd
    from shares
    group by session_id, dimension_type, dimension_value
)

select * from costs_attributed
