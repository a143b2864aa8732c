"""Changes to the text of a JSON document that leave every other byte as it is.

Parts are found by decoding, and the text is cut where they stand. Nothing here knows what the document means.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

_SPACE = re.compile(r"[ \t\n\r]*")


@dataclass(frozen=True)
class Member:
    """One member of an object, or element of an array: where it stands in the text."""

    key: str
    start: int
    value_start: int
    end: int


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"{text} is not JSON")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def _skip_space(text: str, position: int) -> int:
    match = _SPACE.match(text, position)
    return match.end() if match else position


def list_members(text: str, start: int) -> list[Member]:
    """The parts of the object or array that begins at `start` in a text known to be JSON."""
    is_object = text[start] == "{"
    closing = "}" if is_object else "]"
    position = _skip_space(text, start + 1)
    found = []
    while text[position] != closing:
        first, key = position, ""
        if is_object:
            key, position = _DECODER.raw_decode(text, position)
            position = _skip_space(text, _skip_space(text, position) + 1)
        _, end = _DECODER.raw_decode(text, position)
        found.append(Member(key=key, start=first, value_start=position, end=end))
        position = _skip_space(text, end)
        if text[position] == ",":
            position = _skip_space(text, position + 1)
    return found


def find(text: str, start: int, key: str) -> Member | None:
    """The member that counts: of a repeated key the last, as Claude Code's own parser has it."""
    return next((member for member in reversed(list_members(text, start)) if member.key == key), None)


def parse_object(text: str) -> tuple[int, dict[str, Any]]:
    """Where the root object begins, and the object. Raises ValueError for anything else."""
    start = _skip_space(text, 0)
    value, end = _DECODER.raw_decode(text, start)
    if text[_skip_space(text, end) :]:
        raise ValueError("there is text after the JSON")
    if not isinstance(value, dict):
        raise ValueError("it is not a JSON object")  # noqa: TRY004 - one kind for all that does not parse
    return start, value


@dataclass(frozen=True)
class Style:
    """How a file is laid out."""

    newline: str
    unit: str

    def break_line(self, depth: int) -> str:
        """What comes before a member that stands so deep."""
        return self.newline + self.unit * depth if self.newline else ""


def find_style(text: str, start: int) -> Style:
    """The layout of a file; one without a line break inside stays on one line."""
    match = re.compile(r"\{[ \t]*(\r?\n)([ \t]*)").match(text, start)
    if match:
        return Style(newline=match[1], unit=match[2] or "  ")
    return Style(newline="\n", unit="  ") if not list_members(text, start) else Style(newline="", unit="")


def append(text: str, start: int, depth: int, part: str, style: Style) -> str:
    """The text with `part` as the last one of the object or array at `start`."""
    members = list_members(text, start)
    if members:
        last = members[-1]
        before = text[start + 1 : members[0].start]
        gap = before if len(members) == 1 or "\n" in before else text[members[-2].end : last.start].replace(",", "", 1)
        # An array on one line of a file with many stays on one line.
        return f"{text[: last.end]},{gap if gap or not style.newline else ' '}{part}{text[last.end :]}"
    closing = _skip_space(text, start + 1)
    inner = text[start + 1 : closing]
    tail = inner if "\n" in inner else style.break_line(depth - 1)
    return f"{text[: start + 1]}{style.break_line(depth)}{part}{tail}{text[closing:]}"


def remove(text: str, start: int, index: int) -> str:
    """The text without one part of the object or array at `start`."""
    members = list_members(text, start)
    member = members[index]
    if len(members) == 1:
        closing = _skip_space(text, member.end)
        return text[: start + 1] + text[closing:]
    if index:
        return text[: members[index - 1].end] + text[member.end :]
    return text[: member.start] + text[members[1].start :]
