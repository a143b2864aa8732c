{{ config(materialized='table') }}

with

messages as (
    select * from {{ ref('stg_messages') }}
    where role = 'assistant'
),

request_events as (
    select * from {{ ref('stg_api_request_events') }}
),

prices as (
    select * from {{ ref('int_model_prices_combined') }}
),

advisors as (
    select nullif(iteration.model, '') as model_name
    from {{ exploded('messages', 'advisor_iterations', 'iteration') }}
),

models_seen as (
    select coalesce(model_name, 'unknown') as model_name
    from messages
    where has_usage
    union
    select coalesce(model_name, 'unknown') as model_name
    from advisors
    union
    select coalesce(model_name, 'unknown') as model_name
    from request_events
),

-- Providers decorate a name: `us.anthropic.claude-sonnet-4-5-20250929-v1:0`, `claude-opus-4-1@20250805`,
-- `anthropic/claude-sonnet-4.5`, `claude-sonnet-4-5[1m]`.
models_undecorated as (
    select
        model_name,
        case
            when lower(model_name) like '%claude-%'
                then
                    replace(
                        replace(
                            split_part(
                                split_part(
                                    regexp_extract(lower(model_name), '(claude-.*)$', 1), '[', 1
                                ),
                                ':',
                                1
                            ),
                            '@', '-'
                        ),
                        '.', '-'
                    )
            else split_part(split_part({{ last_path_part('lower(model_name)') }}, '[', 1), ':', 1)
        end as dated_name
    from models_seen
),

models_undated as (
    select
        model_name,
        dated_name,
        regexp_replace(
            regexp_replace(dated_name, '-20[0-9][0-9][0-9][0-9][0-9][0-9](-.*)?$', ''),
            '-v[0-9]+$',
            ''
        ) as undated_name
    from models_undecorated
),

prefixes as (
    select
        model_prefix,
        min(model_family) as model_family
    from prices
    group by model_prefix
),

-- A match must end where the version ends: claude-fable-5 is neither claude-fable-5-3 nor claude-fable-50.
-- A prefix that ends in a year (`claude-opus-4-2025`) stands for a name that only its date tells apart, and
-- `claude-opus-4` alone is its `-0`.
models_matched as (
    select
        models_undated.model_name,
        models_undated.undated_name,
        prefixes.model_prefix,
        prefixes.model_family,
        row_number() over (
            partition by models_undated.model_name
            order by
                length(prefixes.model_prefix) desc nulls last, prefixes.model_prefix asc nulls last
        ) as match_rank
    from models_undated
    left join prefixes
        on
            models_undated.undated_name = prefixes.model_prefix
            or models_undated.undated_name || '-0' = prefixes.model_prefix
            or (
                substr(models_undated.undated_name, 1, length(prefixes.model_prefix))
                = prefixes.model_prefix
                and (
                    {{ matches('prefixes.model_prefix', '[-.]$') }}
                    or {{ matches(
                        'substr(models_undated.undated_name, length(prefixes.model_prefix) + 1)', '^-[^0-9]'
                    ) }}
                )
            )
            or (
                {{ matches('prefixes.model_prefix', '-20[0-9][0-9]$') }}
                and substr(models_undated.dated_name, 1, length(prefixes.model_prefix))
                = prefixes.model_prefix
            )
),

-- A version of a known family that the list does not know is estimated at its family's newest. A name without a
-- version, such as claude-mythos-preview, is not: it may cost twice as much.
models_resolved as (
    select
        ---------- keys
        {{ surrogate_key(['models_matched.model_name']) }} as model_key,

        ---------- attributes
        models_matched.model_name,
        models_matched.undated_name as model_version_name,
        coalesce(models_matched.model_prefix, families.model_prefix) as model_prefix,
        coalesce(
            models_matched.model_family,
            families.model_family,
            nullif(
                regexp_extract(models_matched.undated_name, '(opus|sonnet|haiku|fable|mythos)', 1),
                ''
            ),
            'other'
        ) as model_family
    from models_matched
    left join prefixes as families
        on
            models_matched.model_prefix is null
            and families.model_prefix
            = 'claude-'
            || regexp_extract(models_matched.undated_name, '^claude-([a-z]+)-[0-9]+(-[0-9]+)?$', 1)
            || '-*'
    where models_matched.match_rank = 1
)

select * from models_resolved
