{{ config(materialized='incremental') }}

with

tool_usage as (
    select * from {{ ref('int_tool_usage') }}
    where {{ is_rebuilt('occurred_date') }}
),

sessions as (
    select * from {{ ref('int_sessions_located') }}
),

-- Only calls that succeeded touched a file.
file_usage as (
    select
        *,
        case
            when tool_name in ('Read', 'NotebookRead') then 'read'
            when tool_name = 'Write' and result_operation = 'create' then 'create'
            when tool_name = 'Write' then 'write'
            else 'edit'
        end as operation_type
    from tool_usage
    where
        outcome = 'success'
        and file_path is not null
        and tool_name in ('Read', 'NotebookRead', 'Write', 'Edit', 'MultiEdit', 'NotebookEdit')
),

-- The result's patch is what happened; a created file has an empty patch, so its lines are counted; without
-- an object as result (old versions, subagents) the input is all there is.
file_changes as (
    select
        *,
        case
            when operation_type = 'read' then 0
            when
                operation_type = 'create'
                then coalesce(result_content_line_count, input_line_count, 0)
            when
                result_shape = 'object' and patch_hunk_count > 0
                then coalesce(patch_added_line_count, 0)
            when
                result_shape = 'object' and patch_hunk_count = 0 and operation_type = 'write'
                then 0
            else coalesce(input_line_count, 0)
        end as added_line_count,
        case
            when operation_type in ('read', 'create') then 0
            when
                result_shape = 'object' and patch_hunk_count > 0
                then coalesce(patch_removed_line_count, 0)
            when operation_type = 'write' then 0
            else coalesce(input_removed_line_count, 0)
        end as removed_line_count,
        {{ file_extension('file_path') }} as file_extension
    from file_usage
),

file_operations as (
    select
        ---------- keys
        {{ surrogate_key(['file_changes.tool_use_id', 'file_changes.file_path']) }}
            as file_operation_key,
        file_changes.tool_call_key,
        file_changes.session_key,
        sessions.project_key,
        file_changes.tool_key,

        ---------- attributes
        file_changes.file_path,
        file_changes.file_extension,
        {{ file_type('file_changes.file_extension') }} as file_type,
        file_changes.operation_type,

        ---------- measures
        cast(file_changes.added_line_count as bigint) as added_line_count,
        cast(file_changes.removed_line_count as bigint) as removed_line_count,
        file_changes.hour_of_day_local,

        ---------- booleans
        file_changes.operation_type <> 'read' as is_change,
        file_changes.is_user_modified,
        file_changes.is_sidechain,

        ---------- dates and instants
        file_changes.occurred_at,
        file_changes.occurred_date,
        file_changes.occurred_date_local
    from file_changes
    left join sessions
        on file_changes.session_id = sessions.session_id
)

select * from file_operations
