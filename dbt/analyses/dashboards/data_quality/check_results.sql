-- One row per day (UTC), expectation and verdict of the audits. Audits look at all data: they have no project.
with

check_results as (
    select * from {{ ref('fct_check_results') }}
),

verdicts as (
    select
        ---------- attributes
        suite_name || ': ' || check_name as check_title,
        case
            when error_type is not null then 'could not run'
            when is_success then 'passed'
            when severity = 'warning' then 'warned'
            else 'failed'
        end as check_verdict,

        ---------- measures
        1 as check_count,
        case when is_success then 1 else 0 end as passed_check_count,
        coalesce(unexpected_count, 0) as unexpected_count,
        coalesce(checked_count, 0) as checked_count,

        ---------- dates
        occurred_date as activity_date
    from check_results
),

daily_verdicts as (
    select
        ---------- attributes
        check_title,
        check_verdict,

        ---------- measures
        cast(sum(check_count) as bigint) as check_count,
        cast(sum(passed_check_count) as bigint) as passed_check_count,
        cast(sum(unexpected_count) as bigint) as unexpected_count,
        cast(sum(checked_count) as bigint) as checked_count,

        ---------- dates
        activity_date
    from verdicts
    group by check_title, check_verdict, activity_date
)

select * from daily_verdicts
