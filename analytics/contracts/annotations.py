"""Dataset `annotations`: what a person says about a session: ratings, tags and notes.

Kept as events: the last rating counts, and a tag is there when the last event about it put it there.
`record_id` is the hash of the event, which holds an id of its own, so that the same word said twice is
two events and one event delivered twice is one.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, Contract, describe

EVENT_TYPES: tuple[str, ...] = ("rated", "tag_added", "tag_removed", "noted")

CONTRACT = Contract(
    dataset="annotations",
    grain="One row per rating, tag added or removed, or note.",
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            describe("event_type", pa.string(), "rated, tag_added, tag_removed, noted."),
            describe("rating", pa.int64(), "Of rated, 1 (bad) to 5 (good)."),
            describe("tag_name", pa.string(), "Of tag_added and tag_removed, the tag."),
            describe("note_char_count", pa.int64(), "Of noted, characters of the note; its text is in the payload."),
        ]
    ),
)
