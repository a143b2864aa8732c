with

annotations as (
    select * from {{ ref('int_annotations_settled') }}
),

sessions as (
    select * from {{ ref('dim_sessions') }}
),

-- An inner join: a tag on a session that is not known waits in silver until the session comes.
session_tags as (
    select
        ---------- keys
        annotations.session_key,

        ---------- attributes
        annotations.tag_name,

        ---------- dates and instants
        annotations.occurred_at as tagged_at
    from annotations
    inner join sessions
        on annotations.session_key = sessions.session_key
    where annotations.event_type = 'tag_added' and annotations.is_current
)

select * from session_tags
