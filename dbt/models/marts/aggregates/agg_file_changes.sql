with

file_operations as (
    select * from {{ ref('fct_file_operations') }}
),

file_changes as (
    select
        ---------- keys
        {{ surrogate_key(['project_key', 'file_path']) }} as file_key,
        project_key,

        ---------- attributes
        file_path,
        file_extension,
        file_type,

        ---------- measures
        cast(sum(case when operation_type = 'read' then 1 else 0 end) as bigint) as read_count,
        cast(sum(case when is_change then 1 else 0 end) as bigint) as edit_count,
        cast(count(distinct session_key) as bigint) as session_count,
        cast(sum(added_line_count) as bigint) as added_line_count,
        cast(sum(removed_line_count) as bigint) as removed_line_count,

        ---------- dates and instants
        min(occurred_at) as first_touched_at,
        max(occurred_at) as last_touched_at
    from file_operations
    group by project_key, file_path, file_extension, file_type
)

select * from file_changes
