"""What a commit says, and what a dataset's commits amount to. Nothing here reads or writes a file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date
from typing import Any

State = dict[str, Any]

# Raised when a version of this program that knows only the format before would misread a commit.
LOG_FORMAT = 1


@dataclass(frozen=True)
class Part:
    """One committed or committable Parquet file. `path` is relative to `<data>/raw`."""

    path: str
    record_date: date
    row_count: int
    byte_count: int

    @property
    def host_id(self) -> str:
        return self.path.split("/host=", 1)[1].split("/", 1)[0]

    def as_json(self) -> dict[str, Any]:
        return {
            "path": self.path,
            "date": self.record_date.isoformat(),
            "rows": self.row_count,
            "bytes": self.byte_count,
        }

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Part:
        return cls(entry["path"], date.fromisoformat(entry["date"]), entry["rows"], entry["bytes"])


@dataclass(frozen=True)
class Rejection:
    """Something that was read and refused: where it stands, why, and how many rows it was."""

    source: str
    file: str
    position: int
    reason: str
    row_count: int = 1
    content: str | None = None

    def as_json(self) -> dict[str, Any]:
        entry = {
            "source": self.source,
            "file": self.file,
            "position": self.position,
            "reason": self.reason,
            "row_count": self.row_count,
        }
        return entry if self.content is None else {**entry, "content": self.content}


@dataclass(frozen=True)
class Commit:
    """One entry of a dataset's log.

    `kind` is `extract`, `compact`, or why files were removed (`quarantine`, `sample`, `prune`); a
    `compact` alone leaves the rows as they were. `state` holds the source positions that changed, by
    key; a null forgets a position.
    """

    number: int
    dataset: str
    source: str
    kind: str
    run_id: str
    host_id: str
    committed_at: str
    adds: tuple[Part, ...]
    removes: tuple[str, ...]
    rows_read: int
    rows_loaded: int
    rows_rejected: int
    dead_letter: str | None
    state: State
    log_format: int = LOG_FORMAT

    @property
    def changed_dates(self) -> set[date]:
        """The days whose rows this commit changed."""
        if self.kind == "compact":
            return set()
        return {part.record_date for part in self.adds} | {date_of_part(path) for path in self.removes}

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "adds": [part.as_json() for part in self.adds], "removes": list(self.removes)}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Commit:
        adds = tuple(Part.from_json(part) for part in entry["adds"])
        return cls(**{**entry, "adds": adds, "removes": tuple(entry["removes"])})


@dataclass
class Snapshot:
    """The log of one dataset folded up to `number`: the files that count, and each source's positions."""

    number: int = 0
    parts: dict[str, Part] = field(default_factory=dict)
    states: dict[str, State] = field(default_factory=dict)
    rows_rejected: int = 0

    def apply(self, commit: Commit) -> None:
        self.number = commit.number
        self.parts.update({part.path: part for part in commit.adds})
        for path in commit.removes:
            self.parts.pop(path, None)
        state = self.states.setdefault(commit.source, {})
        for key, value in commit.state.items():
            if value is None:
                state.pop(key, None)
            else:
                state[key] = value
        self.rows_rejected += commit.rows_rejected

    def as_json(self) -> dict[str, Any]:
        return {**self.__dict__, "parts": [part.as_json() for part in self.parts.values()]}

    @classmethod
    def from_json(cls, entry: Mapping[str, Any]) -> Snapshot:
        parts = {part["path"]: Part.from_json(part) for part in entry["parts"]}
        return cls(**{**entry, "parts": parts})


def date_of_part(path: str) -> date:
    """The day a part belongs to, from its path."""
    return date.fromisoformat(path.split("/date=", 1)[1][:10])
