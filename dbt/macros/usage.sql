{#-
  The measures of every usage aggregate, from int_usage_unioned. Cache hit ratio is defined here and
  nowhere else: tokens read from the cache over all prompt tokens (input, cache writes, cache reads).
-#}
{% macro usage_measures() -%}
    cast(coalesce(sum(request_count), 0) as bigint) as request_count,
    cast(coalesce(sum(api_error_count), 0) as bigint) as api_error_count,
    cast(coalesce(sum(unpriced_request_count), 0) as bigint) as unpriced_request_count,
    cast(coalesce(sum(input_tokens), 0) as bigint) as input_tokens,
    cast(coalesce(sum(output_tokens), 0) as bigint) as output_tokens,
    cast(coalesce(sum(cache_creation_5m_tokens), 0) as bigint) as cache_creation_5m_tokens,
    cast(coalesce(sum(cache_creation_1h_tokens), 0) as bigint) as cache_creation_1h_tokens,
    cast(coalesce(sum(cache_read_tokens), 0) as bigint) as cache_read_tokens,
    cast(coalesce(sum(total_tokens), 0) as bigint) as total_tokens,
    cast(coalesce(sum(total_tokens - output_tokens), 0) as bigint) as prompt_tokens,
    cast(sum(cache_read_tokens) as double) / nullif(sum(total_tokens - output_tokens), 0) as cache_hit_ratio,
    case
        when coalesce(sum(request_count), 0) = 0 then cast(0 as decimal(18, 9))
        else {{ nusd_to_usd('sum(estimated_cost_nusd)') }}
    end as estimated_cost_usd,
    {{ nusd_to_usd('sum(reported_cost_nusd)') }} as reported_cost_usd,
    case
        when coalesce(sum(request_count), 0) = 0 then cast(0 as decimal(18, 9))
        else {{ nusd_to_usd('sum(cache_savings_nusd)') }}
    end as cache_savings_usd
{%- endmacro %}

{#- Whether a line of stg_messages tells of tokens. '<synthetic>' is Claude Code's own: nothing was asked of a model. -#}
{% macro is_usage_line() -%}
    role = 'assistant'
    and has_usage
    and not is_api_error
    and coalesce(model_name, '') <> '<synthetic>'
{%- endmacro %}

{#- What usage_measures is made from, summed up to be summed up again. -#}
{% macro usage_sums() -%}
    {%- for column in [
        'request_count', 'api_error_count', 'unpriced_request_count', 'input_tokens', 'output_tokens',
        'cache_creation_5m_tokens', 'cache_creation_1h_tokens', 'cache_read_tokens', 'total_tokens',
        'estimated_cost_nusd', 'reported_cost_nusd', 'cache_savings_nusd',
    ] -%}
    sum({{ column }}) as {{ column }}
    {%- if not loop.last %},
        {% endif %}
    {%- endfor %}
{%- endmacro %}

{#- Usage by a period, project, model and main thread or subagents: a whole model, for any period of an event. -#}
{% macro usage_by(period, period_column) -%}
with

usage_events as (
    select
        *,
        {{ period }} as {{ period_column }}
    from {{ ref('int_usage_unioned') }}
),

usage_by_period as (
    select
        ---------- keys
        {{ surrogate_key([period_column, 'project_key', 'model_key', 'is_sidechain']) }} as usage_key,
        project_key,
        model_key,

        ---------- measures
        {{ usage_measures() }},

        ---------- booleans
        is_sidechain,

        ---------- dates and instants
        {{ period_column }}
    from usage_events
    group by {{ period_column }}, project_key, model_key, is_sidechain
)

select * from usage_by_period
{%- endmacro %}
