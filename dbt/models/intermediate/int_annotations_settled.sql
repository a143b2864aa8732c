with

annotations as (
    select * from {{ ref('stg_annotations') }}
),

copies_ranked as (
    select
        *,
        row_number() over (partition by record_id order by record_date asc nulls last) as copy_rank
    from annotations
),

-- What counts is the last word on a subject: the session's rating, or one tag of it. Notes stand side by side.
subjects as (
    select
        *,
        case
            when event_type = 'rated' then 'rating'
            when event_type = 'noted' then 'note ' || record_id
            else 'tag ' || tag_name
        end as subject
    from copies_ranked
    where copy_rank = 1
),

words_ranked as (
    select
        *,
        row_number() over (
            partition by session_id, subject
            order by
                occurred_at desc nulls last,
                source_position desc nulls last,
                record_id desc nulls last
        ) as word_rank
    from subjects
),

settled as (
    select
        ---------- keys
        {{ surrogate_key(['session_id']) }} as session_key,

        ---------- ids
        record_id,
        session_id,

        ---------- attributes
        event_type,
        tag_name,

        ---------- measures
        rating,
        note_char_count,

        ---------- booleans
        word_rank = 1 and event_type <> 'tag_removed' as is_current,

        ---------- dates and instants
        occurred_at
    from words_ranked
)

select * from settled
