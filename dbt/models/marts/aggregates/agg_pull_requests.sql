with

assigned as (
    select * from {{ ref('int_pull_requests_assigned') }}
),

requests as (
    select * from {{ ref('fct_api_requests') }}
),

pull_requests as (
    select
        ---------- keys
        {{ surrogate_key(['assigned.pr_url']) }} as pull_request_key,

        ---------- attributes
        assigned.pr_url,
        max(assigned.pr_repository) as repository_name,

        ---------- measures
        max(assigned.pr_number) as pr_number,
        cast(count(distinct requests.session_key) as bigint) as session_count,
        cast(count(*) as bigint) as request_count,
        cast(sum(requests.output_tokens) as bigint) as output_tokens,
        cast(sum(requests.total_tokens) as bigint) as total_tokens,
        cast(sum(requests.estimated_cost_usd) as decimal(18, 9)) as estimated_cost_usd,

        ---------- dates and instants
        min(requests.occurred_at) as first_request_at,
        min(assigned.linked_at) as linked_at
    from assigned
    inner join requests
        on assigned.request_key = requests.request_key
    group by assigned.pr_url
)

select * from pull_requests
