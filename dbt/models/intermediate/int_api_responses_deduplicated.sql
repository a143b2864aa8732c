{{ config(materialized='incremental') }}

with

lines as (
    select * from {{ ref('stg_messages') }}
    where {{ is_read('record_date') }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt('occurred_date') }}
),

models as (
    select * from {{ ref('int_models_resolved') }}
),

prices as (
    select * from {{ ref('int_model_prices_combined') }}
),

usage_lines as (
    select
        *,
        coalesce(input_tokens, 0) + coalesce(output_tokens, 0) + coalesce(cache_creation_tokens, 0)
        + coalesce(cache_read_tokens, 0) as total_tokens
    from lines
    where {{ is_usage_line() }}
),

usage_spread as (
    select
        message_source_id,
        is_progress_copy,
        min(coalesce(output_tokens, 0)) as first_output_tokens,
        max(coalesce(output_tokens, -1)) as last_output_tokens,
        max(reported_cost_nusd) as reported_cost_nusd
    from usage_lines
    group by message_source_id, is_progress_copy
),

-- Whole records, no mix by field: input and cache repeat on every line of a response and output only
-- grows, so the line with most output is the last, or all there is.
fullest_lines as (
    select
        usage_lines.*,
        usage_spread.first_output_tokens,
        usage_spread.reported_cost_nusd as message_reported_cost_nusd
    from usage_lines
    inner join usage_spread
        on
            usage_lines.message_source_id = usage_spread.message_source_id
            and usage_lines.is_progress_copy = usage_spread.is_progress_copy
            and coalesce(usage_lines.output_tokens, -1) = usage_spread.last_output_tokens
),

fullest_ranked as (
    select
        *,
        row_number() over (
            partition by message_source_id
            order by
                is_progress_copy asc nulls last,
                case when stop_reason is null then 1 else 0 end asc nulls last,
                total_tokens desc nulls last,
                case when advisor_iterations is null then 1 else 0 end asc nulls last,
                record_id asc nulls last,
                record_date asc nulls last
        ) as usage_rank
    from fullest_lines
),

chosen_lines as (
    select * from fullest_ranked
    where usage_rank = 1
),

main_responses as (
    select
        message_source_id,
        message_source_id as response_source_id,
        request_id,
        coalesce(model_name, 'unknown') as model_name,
        stop_reason,
        service_tier,
        speed,
        inference_geo,
        case
            when output_tokens is null then 'unknown'
            when stop_reason is not null then 'final'
            when output_tokens > first_output_tokens then 'grown'
            when output_tokens < 10 then 'placeholder'
            else 'unknown'
        end as usage_quality,
        coalesce(input_tokens, 0) as input_tokens,
        coalesce(output_tokens, 0) as output_tokens,
        -- What the line does not split went to the 5-minute cache, the only one there was.
        coalesce(cache_creation_5m_tokens, 0)
        + case
            when
                coalesce(cache_creation_tokens, 0)
                > coalesce(cache_creation_5m_tokens, 0) + coalesce(cache_creation_1h_tokens, 0)
                then
                    cache_creation_tokens
                    - coalesce(cache_creation_5m_tokens, 0) - coalesce(cache_creation_1h_tokens, 0)
            else 0
        end as cache_creation_5m_tokens,
        coalesce(cache_creation_1h_tokens, 0) as cache_creation_1h_tokens,
        coalesce(cache_read_tokens, 0) as cache_read_tokens,
        thinking_tokens,
        coalesce(web_search_count, 0) as web_search_count,
        message_reported_cost_nusd as reported_cost_nusd,
        input_tokens is not null or output_tokens is not null as has_token_counts,
        false as is_advisor
    from chosen_lines
),

-- An advisor is asked by the same response, is billed at its own model and is not in the totals above it.
advisor_responses as (
    select
        chosen_lines.message_source_id,
        chosen_lines.message_source_id
        || ':advisor:'
        || cast(iteration.iteration_index as {{ string_type() }})
            as response_source_id,
        chosen_lines.request_id,
        coalesce(nullif(iteration.model, ''), 'unknown') as model_name,
        chosen_lines.stop_reason,
        chosen_lines.service_tier,
        cast(null as {{ string_type() }}) as speed,
        chosen_lines.inference_geo,
        case when iteration.output_tokens is null then 'unknown' else 'final' end as usage_quality,
        coalesce(iteration.input_tokens, 0) as input_tokens,
        coalesce(iteration.output_tokens, 0) as output_tokens,
        coalesce(iteration.cache_creation_5m_tokens, 0) as cache_creation_5m_tokens,
        coalesce(iteration.cache_creation_1h_tokens, 0) as cache_creation_1h_tokens,
        coalesce(iteration.cache_read_tokens, 0) as cache_read_tokens,
        cast(null as bigint) as thinking_tokens,
        cast(0 as bigint) as web_search_count,
        cast(null as bigint) as reported_cost_nusd,
        iteration.input_tokens is not null
        or iteration.output_tokens is not null as has_token_counts,
        true as is_advisor
    from {{ exploded('chosen_lines', 'advisor_iterations', 'iteration') }}
),

responses as (
    select * from main_responses
    union all
    select * from advisor_responses
),

-- Owner, place and time are the message's; every response lies in a message, and only those whose
-- message is on a rebuilt date are written.
responses_owned as (
    select
        responses.*,
        messages.message_key,
        messages.session_key,
        messages.session_id,
        messages.agent_id,
        messages.is_sidechain,
        messages.permission_mode,
        messages.effort,
        messages.entrypoint,
        messages.git_branch,
        messages.app_version,
        messages.attribution_skill,
        messages.attribution_plugin,
        messages.attribution_mcp_server,
        messages.occurred_at,
        messages.occurred_date,
        messages.occurred_date_local,
        messages.hour_of_day_local,
        models.model_key,
        models.model_prefix,
        models.model_family,
        case when responses.is_advisor then 0 else messages.line_count end as line_count,
        -- 3.1 characters a token fits the known totals within 1 % in sum.
        cast(
            round(
                (
                    messages.text_char_count
                    + messages.thinking_char_count
                    + messages.tool_input_char_count
                )
                / 3.1
            )
            as bigint
        ) as content_tokens,
        -- A prompt of unknown size reaches no price: the response is unpriced, not free.
        case
            when responses.has_token_counts
                then
                    responses.input_tokens
                    + responses.cache_creation_5m_tokens
                    + responses.cache_creation_1h_tokens
                    + responses.cache_read_tokens
        end as prompt_tokens
    from responses
    inner join messages
        on responses.message_source_id = messages.message_source_id
    left join models
        on responses.model_name = models.model_name
),

{{ priced_requests('responses_owned') }},

responses_deduplicated as (
    select
        ---------- keys
        {{ surrogate_key(['response_source_id']) }} as request_key,
        message_key,
        session_key,
        coalesce(model_key, {{ surrogate_key(["'unknown'"]) }}) as model_key,

        ---------- ids
        response_source_id,
        request_id,
        session_id,
        agent_id,

        ---------- attributes
        model_name,
        model_prefix,
        model_family,
        stop_reason,
        service_tier,
        case when speed = 'fast' then 'fast' else 'standard' end as speed,
        inference_geo,
        usage_quality,
        cost_status,
        permission_mode,
        effort,
        entrypoint,
        git_branch,
        app_version,
        attribution_skill,
        attribution_plugin,
        attribution_mcp_server,

        ---------- measures
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens,
        cache_creation_1h_tokens,
        cache_read_tokens,
        input_tokens
        + output_tokens
        + cache_creation_5m_tokens
        + cache_creation_1h_tokens
        + cache_read_tokens as total_tokens,
        thinking_tokens,
        case
            when usage_quality = 'final' or output_tokens >= content_tokens then output_tokens
            else content_tokens
        end as estimated_output_tokens,
        web_search_count,
        cast(line_count as bigint) as line_count,
        input_cost_nusd,
        output_cost_nusd,
        cache_creation_cost_nusd,
        cache_read_cost_nusd,
        web_search_cost_nusd,
        estimated_cost_nusd,
        reported_cost_nusd,
        cache_savings_nusd,

        ---------- booleans
        is_sidechain,
        is_advisor,

        ---------- dates and instants
        occurred_at,
        occurred_date,
        occurred_date_local,
        hour_of_day_local
    from requests_priced
)

select * from responses_deduplicated
