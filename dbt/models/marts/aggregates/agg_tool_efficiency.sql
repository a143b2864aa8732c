with

tools as (
    select * from {{ ref('dim_tools') }}
),

tool_calls as (
    select * from {{ ref('fct_tool_calls') }}
),

retries as (
    select * from {{ ref('int_tool_calls_retried') }}
),

retry_sums as (
    select
        tool_key,
        count(*) as retry_count
    from retries
    group by tool_key
),

tool_sums as (
    select
        tool_key,
        count(*) as tool_call_count,
        count(distinct session_key) as session_count,
        sum(case when outcome = 'success' then 1 else 0 end) as success_count,
        sum(case when outcome = 'error' then 1 else 0 end) as failed_tool_call_count,
        sum(case when outcome = 'rejected' then 1 else 0 end) as rejected_count,
        sum(case when outcome = 'interrupted' then 1 else 0 end) as interrupted_count,
        sum(case when outcome = 'unanswered' then 1 else 0 end) as unanswered_count,
        sum(case when error_type = 'exit_code' and outcome = 'error' then 1 else 0 end)
            as exit_code_error_count,
        sum(case when error_type = 'tool_use_error' and outcome = 'error' then 1 else 0 end)
            as bad_input_error_count,
        sum(case when error_type = 'not_found' and outcome = 'error' then 1 else 0 end)
            as not_found_error_count,
        sum(case when error_type = 'timeout' and outcome = 'error' then 1 else 0 end)
            as timeout_error_count,
        sum(duration_ms) as duration_ms,
        max(duration_ms) as max_duration_ms,
        cast(round(percentile_cont(0.5) within group (order by duration_ms)) as bigint)
            as median_duration_ms,
        cast(round(percentile_cont(0.95) within group (order by duration_ms)) as bigint)
            as p95_duration_ms,
        cast(round(percentile_cont(0.99) within group (order by duration_ms)) as bigint)
            as p99_duration_ms,
        sum(case when duration_source = 'elapsed' then 1 else 0 end) as elapsed_duration_count,
        sum(case when duration_source = 'hook' then 1 else 0 end) as hook_duration_count,
        cast(
            round(
                percentile_cont(0.5) within group (
                    order by case when duration_source = 'hook' then duration_ms end
                )
            )
            as bigint
        ) as median_hook_duration_ms,
        cast(
            round(
                percentile_cont(0.95) within group (
                    order by case when duration_source = 'hook' then duration_ms end
                )
            )
            as bigint
        ) as p95_hook_duration_ms
    from tool_calls
    group by tool_key
),

category_sums as (
    select
        tool_category,
        sum(tool_call_count) as tool_call_count
    from tools
    group by tool_category
),

tool_efficiency as (
    select
        ---------- keys
        tools.tool_key,

        ---------- attributes
        tools.tool_name,
        tools.tool_category,
        tools.mcp_server_name,
        tools.usage_tier,

        ---------- measures
        cast(rank() over (order by tools.tool_call_count desc nulls last) as bigint) as usage_rank,
        tools.tool_call_count,
        cast(category_sums.tool_call_count as bigint) as category_tool_call_count,
        cast(tools.tool_call_count as double)
        / nullif(category_sums.tool_call_count, 0) as category_share_ratio,
        cast(coalesce(tool_sums.session_count, 0) as bigint) as session_count,
        cast(coalesce(tool_sums.success_count, 0) as bigint) as success_count,
        cast(coalesce(tool_sums.failed_tool_call_count, 0) as bigint) as failed_tool_call_count,
        cast(coalesce(tool_sums.rejected_count, 0) as bigint) as rejected_count,
        cast(coalesce(tool_sums.interrupted_count, 0) as bigint) as interrupted_count,
        cast(coalesce(tool_sums.unanswered_count, 0) as bigint) as unanswered_count,
        cast(coalesce(tool_sums.exit_code_error_count, 0) as bigint) as exit_code_error_count,
        cast(coalesce(tool_sums.bad_input_error_count, 0) as bigint) as bad_input_error_count,
        cast(coalesce(tool_sums.not_found_error_count, 0) as bigint) as not_found_error_count,
        cast(coalesce(tool_sums.timeout_error_count, 0) as bigint) as timeout_error_count,
        cast(coalesce(tool_sums.success_count + tool_sums.failed_tool_call_count, 0) as bigint)
            as judged_tool_call_count,
        cast(tool_sums.success_count as double)
        / nullif(tool_sums.success_count + tool_sums.failed_tool_call_count, 0) as success_ratio,
        cast(tool_sums.duration_ms as bigint) as duration_ms,
        tool_sums.median_duration_ms,
        tool_sums.p95_duration_ms,
        tool_sums.p99_duration_ms,
        tool_sums.max_duration_ms,
        cast(coalesce(tool_sums.elapsed_duration_count, 0) as bigint) as elapsed_duration_count,
        cast(coalesce(tool_sums.hook_duration_count, 0) as bigint) as hook_duration_count,
        tool_sums.median_hook_duration_ms,
        tool_sums.p95_hook_duration_ms,
        cast(coalesce(retry_sums.retry_count, 0) as bigint) as retry_count,
        cast(coalesce(retry_sums.retry_count, 0) as double)
        / nullif(tools.tool_call_count, 0) as retry_ratio
    from tools
    left join tool_sums
        on tools.tool_key = tool_sums.tool_key
    left join retry_sums
        on tools.tool_key = retry_sums.tool_key
    left join category_sums
        on tools.tool_category = category_sums.tool_category
)

select * from tool_efficiency
