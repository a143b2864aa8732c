{{ config(materialized='incremental') }}

with

lines as (
    select * from {{ ref('stg_messages') }}
    where {{ is_read('record_date') }} and {{ is_usage_line() }}
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where {{ is_rebuilt('occurred_date') }}
),

-- All lines of a response count on the day of its message, which an increment reads and replaces whole.
lines_numbered as (
    select
        messages.occurred_date,
        coalesce(lines.input_tokens, 0) as input_tokens,
        coalesce(lines.output_tokens, 0) as output_tokens,
        coalesce(lines.cache_creation_tokens, 0) as cache_creation_tokens,
        coalesce(lines.cache_read_tokens, 0) as cache_read_tokens,
        row_number() over (
            partition by lines.message_source_id, lines.line_id
            order by
                lines.output_tokens desc nulls last,
                lines.record_id asc nulls last,
                lines.record_date asc nulls last
        ) as line_rank,
        row_number() over (
            partition by lines.message_source_id, lines.session_id
            order by
                lines.output_tokens desc nulls last,
                lines.record_id asc nulls last,
                lines.record_date asc nulls last
        ) as session_rank,
        row_number() over (
            partition by lines.message_source_id
            order by
                lines.occurred_at asc nulls last,
                lines.record_id asc nulls last,
                lines.record_date asc nulls last
        ) as first_rank
    from lines
    inner join messages
        on lines.message_source_id = messages.message_source_id
),

usage_lines_counted as (
    {%- for rule, condition in [
        ('every_line', '1 = 1'),
        ('line_once', 'line_rank = 1'),
        ('response_once_per_session', 'session_rank = 1'),
        ('first_line_of_response', 'first_rank = 1'),
    ] %}
    select
        ---------- attributes
        '{{ rule }}' as counting_rule,

        ---------- measures
        cast(count(*) as bigint) as counted_row_count,
        cast(sum(input_tokens) as bigint) as input_tokens,
        cast(sum(output_tokens) as bigint) as output_tokens,
        cast(sum(cache_creation_tokens) as bigint) as cache_creation_tokens,
        cast(sum(cache_read_tokens) as bigint) as cache_read_tokens,

        ---------- dates
        occurred_date
    from lines_numbered
    where {{ condition }}
    group by occurred_date
    {%- if not loop.last %}
    union all
    {%- endif %}
    {%- endfor %}
)

select * from usage_lines_counted
