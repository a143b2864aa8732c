with

file_operations as (
    select * from {{ ref('fct_file_operations') }}
    where is_change
),

code_changes as (
    select
        ---------- keys
        {{ surrogate_key(['session_key', 'occurred_date_local', 'file_type']) }}
            as code_change_key,
        session_key,
        project_key,

        ---------- attributes
        file_type,

        ---------- measures
        cast(count(*) as bigint) as edit_count,
        cast(count(distinct file_path) as bigint) as changed_file_count,
        cast(sum(case when operation_type = 'create' then 1 else 0 end) as bigint)
            as created_file_count,
        cast(sum(added_line_count) as bigint) as added_line_count,
        cast(sum(removed_line_count) as bigint) as removed_line_count,
        cast(sum(added_line_count - removed_line_count) as bigint) as net_line_count,

        ---------- dates
        occurred_date_local
    from file_operations
    group by session_key, project_key, occurred_date_local, file_type
)

select * from code_changes
