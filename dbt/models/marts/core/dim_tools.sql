with

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
),

categories as (
    select * from {{ ref('tool_categories') }}
),

hook_events as (
    select * from {{ ref('fct_hook_events') }}
),

tool_names as (
    select tool_name from tool_usage
    union
    -- Known tools that nobody used yet: "unused" is an answer too.
    select tool_name from categories
    union
    -- Old hooks name a tool without the id of a call.
    select tool_name from hook_events
    where tool_name is not null
),

tool_calls as (
    select
        tool_name,
        count(*) as tool_call_count,
        min(occurred_at) as first_used_at,
        max(occurred_at) as last_used_at
    from tool_usage
    group by tool_name
),

tools as (
    select
        {{ surrogate_key(['tool_names.tool_name']) }} as tool_key,
        tool_names.tool_name,
        coalesce(tool_calls.tool_call_count, 0) as tool_call_count,
        tool_calls.first_used_at,
        tool_calls.last_used_at
    from tool_names
    left join tool_calls
        on tool_names.tool_name = tool_calls.tool_name
),

tools_described as (
    select
        ---------- keys
        tools.tool_key,

        ---------- attributes
        tools.tool_name,
        case
            when {{ is_mcp_tool('tools.tool_name') }} then 'mcp'
            else coalesce(categories.tool_category, 'other')
        end as tool_category,
        case
            when {{ is_mcp_tool('tools.tool_name') }} then split_part(tools.tool_name, '__', 2)
        end
            as mcp_server_name,
        case
            when tools.tool_call_count = 0 then 'unused'
            when tools.tool_call_count <= 10 then 'rare'
            when tools.tool_call_count <= 100 then 'occasional'
            when tools.tool_call_count <= 1000 then 'frequent'
            else 'heavy'
        end as usage_tier,

        ---------- measures
        cast(tools.tool_call_count as bigint) as tool_call_count,

        ---------- booleans
        {{ is_mcp_tool('tools.tool_name') }} as is_mcp,
        categories.tool_name is not null as is_known,

        ---------- dates and instants
        cast(tools.first_used_at as {{ timestamp_type() }}) as first_used_at,
        cast(tools.last_used_at as {{ timestamp_type() }}) as last_used_at
    from tools
    left join categories
        on tools.tool_name = categories.tool_name
)

select * from tools_described
