"""Dataset `plan_events`: what happened to plans, as manifests and event archives tell it.

A plan lives in `dev/active/<plan>/` of a project and moves to `dev/complete/<plan>/`. What a run finds
changed in its `manifest.jsonl` becomes events; an archive `plan-events.jsonl` holds events already.

The same event may be found both ways, at two times. So the id of an event is made of what happened and
not of when: `record_id` is the hash of `{"project", "plan", "event", "feature", "number"}` in canonical
JSON, where `number` counts the events of that kind of that feature (or plan) before it, from 1. Of
`pr_created` it is the hash of `{"event", "url"}`. Transcripts tell of plans too; those events are
derived in SQL, from `conversations`.

Descriptions are text: they have a length here and are else in `payload` only.
"""

from __future__ import annotations

import pyarrow as pa

from analytics.contracts import COMMON_FIELDS, Contract, describe

EVENT_TYPES: tuple[str, ...] = (
    "plan_created",
    "plan_optimized",
    "feature_created",
    "orchestration_started",
    "feature_started",
    "feature_completed",
    "feature_failed",
    "orchestration_completed",
    "pr_created",
)

CONTRACT = Contract(
    dataset="plan_events",
    grain="One row per plan event and way it was found.",
    schema=pa.schema(
        [
            *COMMON_FIELDS,
            describe("event_type", pa.string(), f"One of {', '.join(EVENT_TYPES)}; an unknown one passes through."),
            describe("detected_by", pa.string(), "manifest, or archive (a plan-events.jsonl)."),
            describe(
                "time_source",
                pa.string(),
                "Where occurred_at is from: mtime, the manifest's modification time, which is no earlier than the "
                "event and may be later; or event, which tells its own.",
            ),
            describe("project_path", pa.string(), "Folder that holds dev/; null where an archive does not tell it."),
            describe("plan_name", pa.string(), "Folder name of the plan."),
            describe("plan_path", pa.string(), "Folder of the plan, relative to its project where that is known."),
            describe("feature_id", pa.string(), "Feature the event is about; null on events of the whole plan."),
            describe("status", pa.string(), "Status after the event: pending, in_progress, completed, failed, ..."),
            describe("pr_url", pa.string(), "Of pr_created, the pull request's address."),
            describe("occurrence_number", pa.int64(), "Which event of this kind of this feature or plan, from 1."),
            describe("sequence_number", pa.int64(), "Position among the plan's events found the same way, from 1."),
            describe("feature_description_char_count", pa.int64(), "Characters of the feature's description."),
            describe("verification_char_count", pa.int64(), "Characters of how the feature is verified."),
            describe("dependency_count", pa.int64(), "Features that this one depends on."),
        ]
    ),
)
