-- One row per local day, project, thread kind, file type and operation that changed files.
with

file_operations as (
    select * from {{ ref('fct_file_operations') }}
    where is_change
),

projects as (
    select * from {{ ref('dim_projects') }}
),

code_changes as (
    select
        ---------- attributes
        projects.project_path,
        file_operations.file_type,
        file_operations.operation_type,

        ---------- measures
        cast(count(*) as bigint) as edit_count,
        cast(sum(file_operations.added_line_count) as bigint) as added_line_count,
        cast(sum(file_operations.removed_line_count) as bigint) as removed_line_count,

        ---------- booleans
        file_operations.is_sidechain,

        ---------- dates
        file_operations.occurred_date_local as activity_date
    from file_operations
    left join projects on file_operations.project_key = projects.project_key
    group by
        projects.project_path, file_operations.file_type, file_operations.operation_type,
        file_operations.is_sidechain, file_operations.occurred_date_local
)

select * from code_changes
