-- One row per local day, project and file that was changed.
with

file_operations as (
    select * from {{ ref('fct_file_operations') }}
    where is_change
),

projects as (
    select * from {{ ref('dim_projects') }}
),

changed_files as (
    select
        ---------- attributes
        projects.project_path,
        file_operations.file_path,

        ---------- measures
        cast(count(*) as bigint) as edit_count,
        cast(sum(file_operations.added_line_count) as bigint) as added_line_count,
        cast(sum(file_operations.removed_line_count) as bigint) as removed_line_count,

        ---------- dates
        file_operations.occurred_date_local as activity_date
    from file_operations
    left join projects on file_operations.project_key = projects.project_key
    group by projects.project_path, file_operations.file_path, file_operations.occurred_date_local
)

select * from changed_files
