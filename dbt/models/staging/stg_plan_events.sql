with

records as (
    select * from {{ source('raw', 'plan_events') }}
),

plan_events as (
    select
        ---------- ids
        record_id,
        nullif(session_id, '') as session_id,
        nullif(feature_id, '') as feature_id,

        ---------- attributes
        event_type,
        detected_by,
        time_source,
        project_path,
        plan_name,
        plan_path,
        status,
        pr_url,

        ---------- measures
        occurrence_number,
        sequence_number,
        feature_description_char_count,
        verification_char_count,
        dependency_count,

        ---------- dates and instants
        occurred_at,
        record_date
    from records
)

select * from plan_events
