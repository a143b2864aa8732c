{#-
  What a request costs, for every model that prices requests: CTEs from `requests`, the last of which is
  requests_priced. `requests` has response_source_id, model_prefix, speed, inference_geo, occurred_date and tokens.

  The row for the day and speed (standard where the model had no fast mode that day), and of its prompt-size bands the
  highest that the prompt reaches. A user's own row comes before the published ones of its band, the newest first.
-#}
{% macro priced_requests(requests) -%}
-- Of the prices of a model's day and speed each is for the prompts that it reaches and none of higher precedence
-- does: found once for these few, so that a request has one price and need not rank its own.
priced_days as (
    select
        model_prefix,
        coalesce(speed, 'standard') as speed,
        occurred_date
    from {{ requests }}
    group by model_prefix, coalesce(speed, 'standard'), occurred_date
),

day_rows as (
    select
        priced_days.occurred_date,
        priced_days.speed as request_speed,
        prices.*,
        row_number() over (
            partition by
                priced_days.model_prefix,
                priced_days.speed,
                priced_days.occurred_date,
                prices.speed,
                prices.prompt_tokens_from
            order by prices.precedence asc nulls last, prices.valid_from desc nulls last
        ) as choice_rank
    from priced_days
    inner join prices
        on
            priced_days.model_prefix = prices.model_prefix
            and priced_days.occurred_date >= prices.applies_from
            and priced_days.occurred_date < prices.applies_to
            and (prices.speed = 'standard' or prices.speed = priced_days.speed)
),

day_prices as (
    select
        *,
        -- The first has no end but the type's; a join by two comparisons is a hash join, by `or` it is not.
        coalesce(
            min(prompt_tokens_from) over (
                partition by model_prefix, request_speed, occurred_date
                order by
                    case when speed = 'standard' then 1 else 0 end asc nulls last,
                    prompt_tokens_from desc nulls last
                rows between unbounded preceding and 1 preceding
            ),
            9223372036854775807
        ) as prompt_tokens_to
    from day_rows
    where choice_rank = 1
),

requests_matched as (
    select
        {{ requests }}.*,
        day_prices.cost_status as price_status,
        day_prices.valid_from,
        day_prices.input_token_nusd,
        day_prices.output_token_nusd,
        day_prices.cache_creation_5m_token_nusd,
        day_prices.cache_creation_1h_token_nusd,
        day_prices.cache_read_token_nusd,
        case when {{ requests }}.inference_geo = 'us' then day_prices.us_geo_permille else 1000 end as geo_permille
    from {{ requests }}
    left join day_prices
        on
            {{ requests }}.model_prefix = day_prices.model_prefix
            and coalesce({{ requests }}.speed, 'standard') = day_prices.request_speed
            and {{ requests }}.occurred_date = day_prices.occurred_date
            and {{ requests }}.prompt_tokens >= day_prices.prompt_tokens_from
            and {{ requests }}.prompt_tokens < day_prices.prompt_tokens_to
),

requests_costed as (
    select
        *,
        {{ geo_cost_nusd('input_tokens * input_token_nusd') }} as input_cost_nusd,
        {{ geo_cost_nusd('output_tokens * output_token_nusd') }} as output_cost_nusd,
        {{ geo_cost_nusd(
            'cache_creation_5m_tokens * cache_creation_5m_token_nusd'
            ~ ' + cache_creation_1h_tokens * cache_creation_1h_token_nusd'
        ) }} as cache_creation_cost_nusd,
        {{ geo_cost_nusd('cache_read_tokens * cache_read_token_nusd') }} as cache_read_cost_nusd,
        {{ geo_cost_nusd('cache_read_tokens * (input_token_nusd - cache_read_token_nusd)') }} as cache_savings_nusd,
        -- $10 a thousand, whatever the model; null with an unknown model, for the whole is unknown.
        case when input_token_nusd is not null then web_search_count * 10000000 end as web_search_cost_nusd
    from requests_matched
),

requests_priced as (
    select
        *,
        case
            when input_token_nusd is null then 'unpriced'
            when occurred_date < valid_from then 'unconfirmed'
            else price_status
        end as cost_status,
        input_cost_nusd + output_cost_nusd + cache_creation_cost_nusd + cache_read_cost_nusd
        + web_search_cost_nusd as estimated_cost_nusd
    from requests_costed
)
{%- endmacro %}

{#- Nano-dollars times the request's geography factor, which is held in thousandths to stay in integers. -#}
{% macro geo_cost_nusd(amount) -%}
    cast(round(({{ amount }}) * geo_permille / 1000.0) as bigint)
{%- endmacro %}
