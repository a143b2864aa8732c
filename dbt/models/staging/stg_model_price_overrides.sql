with

overrides as (
    select * from {{ source('raw', 'model_price_overrides') }}
),

renamed as (
    select
        ---------- attributes
        model_prefix,
        family,
        speed,
        confidence,

        ---------- measures
        cast(prompt_tokens_from as bigint) as prompt_tokens_from,
        cast(input as decimal(18, 9)) as input,
        cast(output as decimal(18, 9)) as output,
        cast(cache_write_5m as decimal(18, 9)) as cache_write_5m,
        cast(cache_write_1h as decimal(18, 9)) as cache_write_1h,
        cast(cache_read as decimal(18, 9)) as cache_read,
        cast(us_geo_multiplier as decimal(18, 9)) as us_geo_multiplier,

        ---------- dates
        cast(valid_from as date) as valid_from,
        cast(valid_to as date) as valid_to
    from overrides
)

select * from renamed
