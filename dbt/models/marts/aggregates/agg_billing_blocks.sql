{#- Recursion needs its keyword at the head of the whole query on both engines. -#}
with recursive

usage_events as (
    select * from {{ ref('int_usage_unioned') }}
    where request_count = 1
),

messages as (
    select * from {{ ref('int_messages_enriched') }}
    where limit_reset_at is not null
),

-- A block starts at the full hour of its first request and lasts five, so hours are all that matters.
active_hours as (
    select
        date_trunc('hour', occurred_at) as hour_started_at,
        cast({{ epoch_milliseconds("date_trunc('hour', occurred_at)") }} / 3600000 as bigint)
            as hour_number,
        min(occurred_at) as first_request_at,
        max(occurred_at) as last_request_at,
        {{ usage_sums() }}
    from usage_events
    group by date_trunc('hour', occurred_at)
),

-- For every active hour the first one that a block starting there no longer covers.
hour_successors as (
    select
        hour_number,
        min(hour_number) over (
            order by hour_number asc nulls last
            range between 5 following and unbounded following
        ) as next_block_hour_number,
        lag(hour_number) over (order by hour_number asc nulls last) as previous_hour_number
    from active_hours
),

-- After a pause of five hours a block starts for certain, so each run of hours is followed on its own and
-- the recursion is as deep as the longest run, not as the history.
run_starts as (
    select hour_number
    from hour_successors
    where previous_hour_number is null or hour_number - previous_hour_number >= 5
),

-- A chain ends with its run, whose successor starts the next one: no block is reached twice, and none need be
-- taken out by `union`, which Spark does not know in a recursion.
chained_hours as (
    select
        hour_successors.hour_number,
        hour_successors.next_block_hour_number
    from hour_successors
    left join run_starts
        on hour_successors.next_block_hour_number = run_starts.hour_number
    where hour_successors.next_block_hour_number is not null and run_starts.hour_number is null
),

blocks as (
    select hour_number as block_hour_number
    from run_starts
    union all
    select chained_hours.next_block_hour_number as block_hour_number
    from blocks
    inner join chained_hours
        on blocks.block_hour_number = chained_hours.hour_number
),

block_bounds as (
    select
        active_hours.hour_started_at as block_started_at,
        {{ add_minutes('active_hours.hour_started_at', 300) }} as block_ends_at
    from blocks
    inner join active_hours
        on blocks.block_hour_number = active_hours.hour_number
),

block_sums as (
    select
        block_bounds.block_started_at,
        block_bounds.block_ends_at,
        min(active_hours.first_request_at) as first_request_at,
        max(active_hours.last_request_at) as last_request_at,
        {{ usage_measures() }}
    from block_bounds
    inner join active_hours
        on
            active_hours.hour_started_at >= block_bounds.block_started_at
            and active_hours.hour_started_at < block_bounds.block_ends_at
    group by block_bounds.block_started_at, block_bounds.block_ends_at
),

block_resets as (
    select
        block_bounds.block_started_at,
        max(messages.limit_reset_at) as limit_reset_at
    from block_bounds
    inner join messages
        on
            messages.occurred_at >= block_bounds.block_started_at
            and messages.occurred_at < block_bounds.block_ends_at
    group by block_bounds.block_started_at
),

latest_block as (
    {{ newest_of('block_sums', 'first_request_at', 'run_at') }}
),

blocks_linked as (
    select
        block_sums.*,
        block_resets.limit_reset_at,
        {{ milliseconds_between('block_sums.first_request_at', 'block_sums.last_request_at') }}
            as request_span_ms,
        lag(block_sums.last_request_at) over (order by block_sums.block_started_at asc nulls last)
            as previous_request_at,
        block_sums.first_request_at = latest_block.first_request_at as is_latest
    from block_sums
    cross join latest_block
    left join block_resets
        on block_sums.block_started_at = block_resets.block_started_at
),

-- Only the block that the newest record lies in can still grow; a finished one is its own projection.
billing_blocks as (
    select
        ---------- keys
        block_started_at,

        ---------- measures
        request_count,
        input_tokens,
        output_tokens,
        cache_creation_5m_tokens,
        cache_creation_1h_tokens,
        cache_read_tokens,
        total_tokens,
        request_span_ms,
        {{ milliseconds_between('previous_request_at', 'first_request_at') }} as gap_ms,
        case when request_span_ms >= 60000 then total_tokens * 60000.0e0 / request_span_ms end
            as tokens_per_minute,
        estimated_cost_usd,
        case
            when request_span_ms >= 60000
                then
                    cast(
                        cast(estimated_cost_usd as double)
                        * 3600000
                        / request_span_ms as decimal(18, 9)
                    )
        end as hourly_burn_usd,
        case
            when not is_latest or request_span_ms < 60000 then estimated_cost_usd
            else
                cast(
                    cast(estimated_cost_usd as double)
                    * {{ milliseconds_between('first_request_at', 'block_ends_at') }}
                    / request_span_ms
                    as decimal(18, 9)
                )
        end as projected_cost_usd,

        ---------- booleans
        is_latest,
        limit_reset_at is not null as has_hit_limit,

        ---------- dates and instants
        block_ends_at,
        first_request_at,
        last_request_at,
        limit_reset_at
    from blocks_linked
)

select * from billing_blocks
