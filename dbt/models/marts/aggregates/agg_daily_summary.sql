with

dates as (
    select * from {{ ref('dim_date') }}
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

file_operations as (
    select * from {{ ref('fct_file_operations') }}
),

daily_messages as (
    select
        occurred_date_local,
        count(*) as message_count,
        sum(case when is_human_prompt then 1 else 0 end) as human_prompt_count,
        sum(case when message_kind = 'api_error' then 1 else 0 end) as api_error_count,
        count(distinct session_key) as session_count,
        -- A person works on what a person writes to: subagents switch nothing.
        count(distinct case when is_human_prompt then project_key end) as prompted_project_count,
        count(distinct project_key) as project_count,
        count(distinct hour_of_day_local) as active_hour_count
    from messages
    group by occurred_date_local
),

daily_requests as (
    select
        occurred_date_local,
        count(*) as request_count,
        sum(case when cost_status = 'unpriced' then 1 else 0 end) as unpriced_request_count,
        sum(input_tokens) as input_tokens,
        sum(output_tokens) as output_tokens,
        sum(cache_creation_5m_tokens + cache_creation_1h_tokens) as cache_creation_tokens,
        sum(cache_read_tokens) as cache_read_tokens,
        sum(total_tokens) as total_tokens,
        sum(estimated_cost_usd) as estimated_cost_usd,
        sum(reported_cost_usd) as reported_cost_usd,
        sum(cache_savings_usd) as cache_savings_usd
    from requests
    group by occurred_date_local
),

daily_tool_calls as (
    select
        occurred_date_local,
        count(*) as tool_call_count,
        sum(case when outcome = 'error' then 1 else 0 end) as failed_tool_call_count
    from tool_calls
    group by occurred_date_local
),

daily_changes as (
    select
        occurred_date_local,
        count(*) as edit_count,
        count(distinct file_path) as changed_file_count,
        sum(added_line_count) as added_line_count,
        sum(removed_line_count) as removed_line_count
    from file_operations
    where is_change
    group by occurred_date_local
),

daily_summary as (
    select
        ---------- attributes
        dates.date_day,
        dates.day_of_week_name,

        ---------- measures
        cast(coalesce(daily_messages.session_count, 0) as bigint) as session_count,
        cast(coalesce(daily_messages.project_count, 0) as bigint) as project_count,
        cast(coalesce(daily_messages.prompted_project_count, 0) as bigint) as context_switch_count,
        cast(coalesce(daily_messages.active_hour_count, 0) as bigint) as active_hour_count,
        cast(coalesce(daily_messages.message_count, 0) as bigint) as message_count,
        cast(coalesce(daily_messages.human_prompt_count, 0) as bigint) as human_prompt_count,
        cast(coalesce(daily_messages.api_error_count, 0) as bigint) as api_error_count,
        cast(coalesce(daily_requests.request_count, 0) as bigint) as request_count,
        cast(coalesce(daily_requests.unpriced_request_count, 0) as bigint)
            as unpriced_request_count,
        cast(coalesce(daily_tool_calls.tool_call_count, 0) as bigint) as tool_call_count,
        cast(coalesce(daily_tool_calls.failed_tool_call_count, 0) as bigint)
            as failed_tool_call_count,
        cast(coalesce(daily_changes.edit_count, 0) as bigint) as edit_count,
        cast(coalesce(daily_changes.changed_file_count, 0) as bigint) as changed_file_count,
        cast(coalesce(daily_changes.added_line_count, 0) as bigint) as added_line_count,
        cast(coalesce(daily_changes.removed_line_count, 0) as bigint) as removed_line_count,
        cast(coalesce(daily_requests.input_tokens, 0) as bigint) as input_tokens,
        cast(coalesce(daily_requests.output_tokens, 0) as bigint) as output_tokens,
        cast(coalesce(daily_requests.cache_creation_tokens, 0) as bigint) as cache_creation_tokens,
        cast(coalesce(daily_requests.cache_read_tokens, 0) as bigint) as cache_read_tokens,
        cast(coalesce(daily_requests.total_tokens, 0) as bigint) as total_tokens,
        -- A day without requests cost nothing; a day with only unpriced ones has no known cost.
        cast(
            case
                when daily_requests.request_count is null then 0
                else daily_requests.estimated_cost_usd
            end
            as decimal(18, 9)
        ) as estimated_cost_usd,
        cast(daily_requests.reported_cost_usd as decimal(18, 9)) as reported_cost_usd,
        cast(
            case
                when daily_requests.request_count is null then 0
                else daily_requests.cache_savings_usd
            end
            as decimal(18, 9)
        ) as cache_savings_usd,

        ---------- booleans
        dates.is_weekend
    from dates
    left join daily_messages
        on dates.date_day = daily_messages.occurred_date_local
    left join daily_requests
        on dates.date_day = daily_requests.occurred_date_local
    left join daily_tool_calls
        on dates.date_day = daily_tool_calls.occurred_date_local
    left join daily_changes
        on dates.date_day = daily_changes.occurred_date_local
)

select * from daily_summary
