"""A manifest to its features, and two states of a plan to the events between them. Pure: nothing opens a file."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from analytics.records import Refusal, parse_lines, split_lines
from analytics.records.spelling import spell

Event = dict[str, Any]
State = dict[str, Any]

ACTIVE, COMPLETE = "active", "complete"
NOT_A_FEATURE = "no feature id"

_BREAKS = re.compile(r"[-\s]+")
_STATUS_WORDS = {
    "complete": "completed",
    "done": "completed",
    "started": "in_progress",
    "todo": "pending",
    "not_started": "pending",
    "error": "failed",
}
# What a feature must have gone through, at the least, to come from one status to another.
_STEPS = {
    ("pending", "in_progress"): ("feature_started",),
    ("pending", "completed"): ("feature_started", "feature_completed"),
    ("pending", "failed"): ("feature_started", "feature_failed"),
    ("in_progress", "completed"): ("feature_completed",),
    ("in_progress", "failed"): ("feature_failed",),
    ("failed", "in_progress"): ("feature_started",),
    ("failed", "completed"): ("feature_started", "feature_completed"),
    ("completed", "in_progress"): ("feature_started",),
    ("completed", "failed"): ("feature_started", "feature_failed"),
}
_STATUS_AFTER = {
    "feature_created": "pending",
    "feature_started": "in_progress",
    "feature_completed": "completed",
    "feature_failed": "failed",
}


class PlanPlace(NamedTuple):
    """Which plan: the project's folder, the plan's name, and whether it is in dev/active or dev/complete."""

    project: str
    name: str
    stage: str

    @property
    def path(self) -> str:
        return f"dev/{self.stage}/{self.name}"


@dataclass(frozen=True)
class Manifest:
    """The features of a manifest in order, and the lines that are none."""

    features: tuple[Event, ...] = ()
    refusals: tuple[Refusal, ...] = ()


@dataclass
class PlanDiff:
    """Collects a plan's events and the state after them. `counts` outlive everything, so that numbers go on."""

    place: PlanPlace
    timestamp: str | None
    counts: dict[str, int]
    events: list[Event] = field(default_factory=list)

    def emit(self, event_type: str, feature: Event | None = None, *, status: str | None = None) -> None:
        """Add an event. `number` counts the events of this kind of this feature, `sequence` those of the plan."""
        counter = event_type if feature is None else f"{event_type} {feature_key(feature['id'])}"
        self.counts[counter] = self.counts.get(counter, 0) + 1
        self.counts["events"] = self.counts.get("events", 0) + 1
        event: Event = {
            "timestamp": self.timestamp,
            "event_type": event_type,
            "project_path": self.place.project,
            "plan_name": self.place.name,
            "plan_path": self.place.path,
            "status": status or _STATUS_AFTER.get(event_type),
            "number": self.counts[counter],
            "sequence": self.counts["events"],
        }
        if feature is not None:
            event |= {
                "feature_id": feature["id"],
                "feature_description": feature.get("description"),
                "data": {"depends_on": feature.get("depends_on"), "verification": feature.get("verification")},
            }
        self.events.append(event)


def parse_manifest(content: bytes) -> Manifest:
    """The features of a manifest, one JSON object a line. The last of several lines with one id counts."""
    features: dict[str, Event] = {}
    refusals: list[Refusal] = []
    for position, value in parse_lines(split_lines(content), refusals):
        feature_id = value.get("id") if isinstance(value, dict) else None
        if isinstance(feature_id, int) and not isinstance(feature_id, bool):
            feature_id = str(feature_id)
        if not isinstance(feature_id, str) or not feature_id:
            refusals.append(Refusal(position, NOT_A_FEATURE, spell(value)))
            continue
        features[feature_id] = {**value, "id": feature_id, "status": normalise_status(value.get("status"))}
    return Manifest(tuple(features.values()), tuple(refusals))


def normalise_status(value: Any) -> str:
    """A status in the words of the format; an unknown word stays, nothing is pending."""
    if not isinstance(value, str) or not value.strip():
        return "pending"
    word = _BREAKS.sub("_", value.strip().lower())
    return _STATUS_WORDS.get(word, word)


def diff_plan(
    state: State | None, place: PlanPlace, manifest: Manifest, timestamp: str | None
) -> tuple[list[Event], State]:
    """The events that lead from the state last seen to the manifest as it is now, and the state after them.

    A feature that left the manifest is remembered: it may be back when a half-written file is whole.
    A status outside the format counts as pending and means no event.
    """
    diff = PlanDiff(place, timestamp, dict(state["counts"]) if state else {})
    statuses: dict[str, str] = dict(state["features"]) if state else {}
    if state is None:
        diff.emit("plan_created", status=ACTIVE)
    for feature in manifest.features:
        key = feature_key(feature["id"])
        before = statuses.get(key)
        if before is None:
            diff.emit("feature_created", feature)
        for event_type in _STEPS.get((_known(before), feature["status"]), ()):
            diff.emit(event_type, feature)
        statuses[key] = _known(feature["status"])
    if place.stage == COMPLETE and (state is None or state["stage"] != COMPLETE):
        diff.emit("orchestration_completed", status="completed")
    return diff.events, {"stage": place.stage, "features": statuses, "counts": diff.counts}


def feature_key(feature_id: str) -> str:
    """What a feature is called in the state: its id is what somebody wrote."""
    return hashlib.sha256(feature_id.encode()).hexdigest()[:16]


def hide_ids(state: State) -> State:
    """A state as earlier versions kept it, with the ids of features and their statuses spelt out, as it is kept now."""
    features = {feature_key(feature_id): _known(status) for feature_id, status in state["features"].items()}
    counts = {}
    for counter, count in state["counts"].items():
        event_type, blank, feature_id = counter.partition(" ")
        counts[f"{event_type} {feature_key(feature_id)}" if blank else counter] = count
    return {**state, "features": features, "counts": counts}


def _known(status: str | None) -> str:
    return status if status in ("in_progress", "completed", "failed") else "pending"
