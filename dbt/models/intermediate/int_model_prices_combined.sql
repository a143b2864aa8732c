with

published_prices as (
    select * from {{ ref('model_prices') }}
),

overrides as (
    select * from {{ ref('stg_model_price_overrides') }}
),

-- In lower case before anything is compared: a user's row is for the same model whatever its case.
all_prices as (
    select
        lower(model_prefix) as model_prefix,
        family,
        speed,
        prompt_tokens_from,
        valid_from,
        valid_to,
        input,
        output,
        cache_write_5m,
        cache_write_1h,
        cache_read,
        us_geo_multiplier,
        confidence,
        1 as precedence
    from published_prices
    union all
    select
        lower(model_prefix) as model_prefix,
        family,
        speed,
        prompt_tokens_from,
        valid_from,
        valid_to,
        input,
        output,
        cache_write_5m,
        cache_write_1h,
        cache_read,
        us_geo_multiplier,
        confidence,
        0 as precedence
    from overrides
),

prices_ranked as (
    select
        *,
        row_number() over (
            partition by model_prefix, speed, prompt_tokens_from, valid_from
            order by
                precedence asc nulls last,
                valid_to asc nulls last,
                input asc nulls last,
                output asc nulls last
        ) as price_rank,
        min(case when speed = 'standard' then valid_from end)
            over (partition by model_prefix)
            as first_valid_from
    from all_prices
),

-- A request before the first known day of its model (early access, a clock ahead) takes the first price,
-- marked unconfirmed: better than no cost, and visible.
prices_combined as (
    select
        ---------- attributes
        model_prefix,
        family as model_family,
        speed,
        case when confidence = 'published' then 'priced' else 'unconfirmed' end as cost_status,

        ---------- measures
        precedence,
        prompt_tokens_from,
        cast(round(input * 1000) as bigint) as input_token_nusd,
        cast(round(output * 1000) as bigint) as output_token_nusd,
        cast(round(cache_write_5m * 1000) as bigint) as cache_creation_5m_token_nusd,
        cast(round(cache_write_1h * 1000) as bigint) as cache_creation_1h_token_nusd,
        cast(round(cache_read * 1000) as bigint) as cache_read_token_nusd,
        cast(round(coalesce(us_geo_multiplier, 1) * 1000) as bigint) as us_geo_permille,

        ---------- dates
        valid_from,
        case
            when valid_from = first_valid_from then cast('1970-01-01' as date)
            else valid_from
        end as applies_from,
        coalesce(valid_to, cast('9999-12-31' as date)) as applies_to
    from prices_ranked
    where price_rank = 1
),

newest_of_family as (
    select
        model_prefix,
        row_number() over (
            partition by model_family
            order by min(valid_from) desc nulls last, model_prefix desc nulls last
        ) as newness_rank
    from prices_combined
    where speed = 'standard' and model_prefix like 'claude-%' and model_family is not null
    group by model_prefix, model_family
),

-- What a model is estimated at that is newer than this list, until its own price is known: no name has a prefix
-- that ends so, see int_models_resolved.
family_prices as (
    select
        'claude-' || prices_combined.model_family || '-*' as model_prefix,
        prices_combined.model_family,
        prices_combined.speed,
        'unconfirmed' as cost_status,
        prices_combined.precedence,
        prices_combined.prompt_tokens_from,
        prices_combined.input_token_nusd,
        prices_combined.output_token_nusd,
        prices_combined.cache_creation_5m_token_nusd,
        prices_combined.cache_creation_1h_token_nusd,
        prices_combined.cache_read_token_nusd,
        prices_combined.us_geo_permille,
        prices_combined.valid_from,
        prices_combined.applies_from,
        prices_combined.applies_to
    from prices_combined
    inner join newest_of_family
        on
            prices_combined.model_prefix = newest_of_family.model_prefix
            and newest_of_family.newness_rank = 1
),

prices_of_models_and_families as (
    select * from prices_combined
    union all
    select * from family_prices
)

select * from prices_of_models_and_families
