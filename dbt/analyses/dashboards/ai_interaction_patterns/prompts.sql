-- One row per local day, project, time of day and task category of the prompts that a person wrote.
with

messages as (
    select * from {{ ref('fct_messages') }}
    where is_human_prompt
),

projects as (
    select * from {{ ref('dim_projects') }}
),

prompts as (
    select
        ---------- attributes
        projects.project_path,
        messages.task_category,
        messages.time_of_day,

        ---------- measures
        cast(count(*) as bigint) as human_prompt_count,
        cast(sum(messages.text_char_count) as bigint) as text_char_count,

        ---------- dates
        messages.occurred_date_local as activity_date
    from messages
    left join projects on messages.project_key = projects.project_key
    group by
        projects.project_path, messages.task_category, messages.time_of_day, messages.occurred_date_local
)

select * from prompts
