with

sessions as (
    select * from {{ ref('int_sessions_computed') }}
),

sessions_dated as (
    select
        *,
        {{ milliseconds_between('started_at', 'ended_at') }} as duration_ms,
        {{ local_instant('started_at', reporting_time_zone()) }} as started_at_local
    from sessions
),

sessions_described as (
    select
        ---------- keys
        session_key,
        project_key,

        ---------- ids
        session_id,

        ---------- attributes
        case
            when duration_ms < 60000 then 'quick'
            when duration_ms < 600000 then 'short'
            when duration_ms < 3600000 then 'medium'
            else 'long'
        end as duration_category,
        case
            when message_count <= 5 then 'minimal'
            when message_count <= 20 then 'light'
            when message_count <= 50 then 'moderate'
            else 'heavy'
        end as activity_level,
        {{ time_of_day('extract(hour from started_at_local)') }} as time_of_day,

        ---------- measures
        duration_ms,
        message_count,
        human_prompt_count,
        assistant_message_count,
        command_count,
        interrupt_count,
        api_error_count,
        compaction_count,
        subagent_count,
        request_count,
        unpriced_request_count,
        model_count,
        tool_call_count,
        failed_tool_call_count,
        tool_count,
        input_tokens,
        output_tokens,
        cache_creation_tokens,
        cache_read_tokens,
        total_tokens,
        {{ nusd_to_usd('estimated_cost_nusd') }} as estimated_cost_usd,
        {{ nusd_to_usd('reported_cost_nusd') }} as reported_cost_usd,
        {{ nusd_to_usd('cache_savings_nusd') }} as cache_savings_usd,

        ---------- dates and instants
        started_at,
        ended_at,
        cast(started_at as date) as started_date,
        cast(started_at_local as date) as started_date_local
    from sessions_dated
)

select * from sessions_described
