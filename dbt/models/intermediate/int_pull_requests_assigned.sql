with

conversations as (
    select * from {{ ref('stg_conversations') }}
    where line_type = 'pr-link' and pr_url is not null
),

responses as (
    select * from {{ ref('int_api_requests_enriched') }}
),

-- A link with a slash at its end is the same pull request, as in int_plan_events_merged.
lines as (
    select
        session_id,
        pr_repository,
        pr_number,
        {{ replace_all_matches('pr_url', '/+$', '') }} as pr_url,
        occurred_at,
        record_date
    from conversations
),

links as (
    select
        session_id,
        pr_url,
        max(pr_repository) as pr_repository,
        max(pr_number) as pr_number,
        min(coalesce(occurred_at, cast(record_date as {{ timestamp_type() }}))) as linked_at
    from lines
    group by session_id, pr_url
),

-- Work comes before its pull request: a request belongs to the first link after it in its session, and what
-- follows the last link to that one.
candidates as (
    select
        responses.request_key,
        links.session_id,
        links.pr_url,
        links.pr_repository,
        links.pr_number,
        links.linked_at,
        row_number() over (
            partition by responses.request_key
            order by
                case
                    when links.linked_at >= responses.occurred_at then 0 else 1
                end asc nulls last,
                abs(
                    {{ milliseconds_between('responses.occurred_at', 'links.linked_at') }}
                ) asc nulls last,
                links.pr_url asc nulls last
        ) as link_rank
    from links
    inner join responses
        on links.session_id = responses.session_id
),

pull_requests_assigned as (
    select
        request_key,
        session_id,
        pr_url,
        pr_repository,
        pr_number,
        linked_at
    from candidates
    where link_rank = 1
)

select * from pull_requests_assigned
