with

records as (
    select * from {{ source('raw', 'annotations') }}
),

annotations as (
    select
        ---------- ids
        record_id,
        session_id,

        ---------- attributes
        event_type,
        tag_name,

        ---------- measures
        rating,
        note_char_count,
        _source_position as source_position,

        ---------- dates and instants
        occurred_at,
        record_date
    from records
)

select * from annotations
