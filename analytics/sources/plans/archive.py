"""Lines of an event archive to plan events, and a plan event to a row. Pure: nothing opens a file."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from analytics.errors import ContractViolation
from analytics.records import (
    BOM,
    NOT_AN_OBJECT,
    Refusal,
    Row,
    char_count,
    parse_instant,
    parse_json,
    parse_lines,
    parse_word,
    split_lines,
)
from analytics.records.spelling import spell
from analytics.sources.plans.manifest import normalise_status

if TYPE_CHECKING:
    from collections.abc import Iterator
    from datetime import date

NO_EVENT_TYPE = "no event type"

_PLAN_FOLDER = re.compile(r"(?:(?P<project>.*)/)?(?P<path>dev/(?:active|complete)/(?P<name>[^/]+))(?:/.*)?")


class PlanEvent(NamedTuple):
    """One event as an archive holds it, with what its place in the file adds."""

    record: dict[str, Any]
    position: int
    number: int
    sequence: int
    project: str | None


class PlanEventPlace(NamedTuple):
    """A `Place` for the writer, with what the record does not hold itself."""

    file: str
    position: int | None
    fallback_date: date
    source_record_id: str | None
    detected_by: str
    project: str | None
    number: int
    sequence: int


@dataclass
class ArchiveParser:
    """Numbers the events of one archive in their order. `refusals` are what is none."""

    project: str | None
    refusals: list[Refusal] = field(default_factory=list)
    _seen: Counter[tuple[str | None, ...]] = field(default_factory=Counter)

    def parse(self, content: bytes) -> Iterator[PlanEvent]:
        """The events of JSON lines, or of one JSON array."""
        if is_array(content):
            stripped = content.removeprefix(BOM).strip()
            try:
                values = parse_json(stripped)
            except ContractViolation as violation:
                self.refusals.append(Refusal(0, str(violation), stripped))
                return
            for index, value in enumerate(values):
                yield from self._parse_value(value, index)
            return
        for position, value in parse_lines(split_lines(content), self.refusals):
            yield from self._parse_value(value, position)

    def _parse_value(self, value: Any, position: int) -> Iterator[PlanEvent]:
        if not isinstance(value, dict):
            self.refusals.append(Refusal(position, NOT_AN_OBJECT, spell(value)))
            return
        if parse_word(value.get("event_type")) is None:
            self.refusals.append(Refusal(position, NO_EVENT_TYPE, spell(value)))
            return
        project, _, plan = locate(value, self.project)
        counter = (project, plan, value["event_type"], _feature_id(value))
        self._seen[counter] += 1
        self._seen[project, plan] += 1
        yield PlanEvent(value, position, self._seen[counter], self._seen[project, plan], project)


def is_array(content: bytes) -> bool:
    """Whether an archive is one JSON array, and not lines of which the first is an odd one."""
    first, _, rest = content.removeprefix(BOM).strip().partition(b"\n")
    return first.startswith(b"[") and not (rest and first.rstrip().endswith(b"]"))


def locate(record: dict[str, Any], project: str | None) -> tuple[str | None, str | None, str | None]:
    """Project folder, plan folder within it, and plan name of an event; `project` is where its archive lies."""
    path = record.get("plan_path")
    name = parse_word(record.get("plan_name"))
    if isinstance(path, str) and path:
        slashed = path.replace("\\", "/").rstrip("/").removeprefix("./")
        if (match := _PLAN_FOLDER.fullmatch(slashed)) is not None:
            is_absolute = match["project"] is not None and (slashed.startswith("/") or slashed[1:2] == ":")
            return match["project"] if is_absolute else project, match["path"], name or match["name"]
        return project, slashed, name or parse_word(slashed.rpartition("/")[2])
    return project, None, name


def identity_of(event: dict[str, Any], *, project: str | None, number: int | None) -> dict[str, Any]:
    """What the record id is made of: what happened, and not when or who told."""
    event_type, url = event["event_type"], event.get("pr_url")
    if event_type == "pr_created" and isinstance(url, str):
        return {"event": event_type, "url": url.rstrip("/")}
    _, _, plan = locate(event, project)
    return {"project": project, "plan": plan, "event": event_type, "feature": _feature_id(event), "number": number}


def flatten_event(record: dict[str, Any], place: PlanEventPlace) -> Row:
    """The typed columns of an event, absent ones left out. A value of an unexpected type counts as absent."""
    project, path, plan = locate(record, place.project)
    instant = parse_instant(record.get("timestamp"))
    data = record.get("data")
    details = data if isinstance(data, dict) else {}
    depends_on = details.get("depends_on", record.get("depends_on"))
    row: Row = {
        "event_type": parse_word(record.get("event_type")),
        "detected_by": place.detected_by,
        "time_source": None if instant is None else "mtime" if place.detected_by == "manifest" else "event",
        "occurred_at": instant,
        "session_id": parse_word(record.get("session_id")),
        "project_path": project,
        "plan_name": plan,
        "plan_path": path,
        "feature_id": _feature_id(record),
        "status": normalise_status(record["status"]) if parse_word(record.get("status")) else None,
        "pr_url": _text(record.get("pr_url")),
        "feature_description_char_count": _length(record.get("feature_description")),
        "verification_char_count": _length(details.get("verification", record.get("verification"))),
        "dependency_count": len(depends_on) if isinstance(depends_on, list) else None,
        "occurrence_number": place.number,
        "sequence_number": place.sequence,
    }
    return {name: value for name, value in row.items() if value is not None}


def _feature_id(record: dict[str, Any]) -> str | None:
    value = record.get("feature_id")
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return parse_word(value)


def _text(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _length(value: Any) -> int | None:
    return None if value is None else char_count(value)
