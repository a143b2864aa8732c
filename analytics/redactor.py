"""What leaves a line before it is written: secrets and personal data, replaced by a countable tag.

Finding is one pass of one automaton, of all rules (analytics/secret_rules.py), over many lines at once; only
lines that it touches are looked at again. Over much text a faster one goes first (analytics/secret_scanner.py).
"""

from __future__ import annotations

import hmac
import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from operator import itemgetter
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

import orjson
import re2

from analytics.errors import ConfigError
from analytics.secret_rules import REPLACER_MEMORY, RULES_FILE, Kind, Rule, engine_options, read_rules

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from _typeshed import SupportsLenAndGetItem

    from analytics.secret_scanner import SecretScanner

    Offsets = SupportsLenAndGetItem[int]  # where each of some joined lines starts, and where the last one ends

# Where a token may start: after a non-word character or "_", but also right after what JSON, a terminal or a
# URL leaves before it, whose last character is a letter or a digit: \n, \u001b[32m, %3D.
TOKEN_START = rb"(?:\b|_|\\[nrtbf]|\\u[0-9a-fA-F]{4}|\[[0-9;]{1,12}m|%[0-9A-Fa-f]{2})"
# Hits are rare and every pass replaces at least one, so this only bounds what nobody has met.
MAX_ROUNDS = 8
# How far from a trigger its rule may have to look to be certain.
CONTEXT_BEFORE, CONTEXT_BEHIND = 128, 384
DETECTOR_MEMORY = 128 << 20
# From here on a process searches so much that making a scanner is likely to be worth its time.
SCANNER_BYTES = 16 << 20

_ENDING = re.compile(r"(?:\.meta)?\.(?:jsonl?|ndjson|md)\Z")
_TAG_START = b"[REDACTED:"
_TAG = re.compile(rb"\[REDACTED:[a-z0-9_]+:[0-9a-f]{8}\]")
# UTF-16 that was taken for text has a zero beside each letter, in JSON as an escape.
_ESCAPED_ZERO = b"u0000"
_ZEROS = rb"u0000(?:[^\\]?\\+u0000)*"
_ZERO = re.compile(rb"\0|\\+u0000")
# The same key has other line breaks and quotes at each depth of JSON; the tag must not.
_ENCODING_NOISE = re.compile(rb"\\+[nrt]|\\|\s")


@dataclass(frozen=True)
class _Replacer:
    """All patterns of one kind as one automaton; group i + 1 is the secret of rule `rules[i]`."""

    program: Any
    names: tuple[bytes, ...]
    exceptions: tuple[Any, ...]


class Redactor:
    """Compiled rules and the local key. Cheap to pickle: a worker compiles its own."""

    def __init__(self, rules: Iterable[Rule], key: bytes) -> None:
        self.rules = tuple(rules)
        self._key = key
        self._searched_bytes = 0
        self._detector = _compile_detector(self.rules)
        self._replacers = tuple(
            _compile_replacer([rule for rule in self.rules if rule.kind == kind])
            for kind in get_args(Kind)
            if any(rule.kind == kind for rule in self.rules)
        )

    def __reduce__(self) -> tuple[type[Redactor], tuple[tuple[Rule, ...], bytes]]:
        return Redactor, (self.rules, self._key)

    @classmethod
    def load(cls, rules_file: Path | None, key: bytes) -> Redactor:
        """The built-in rules and the user's, whose rules come first and replace those of the same name.

        Raises:
            ConfigError: a file cannot be read, or a rule is malformed or does not compile; it names the rule.
        """
        builtin = read_rules(RULES_FILE)
        if rules_file is None:
            return cls(builtin, key)
        own = read_rules(rules_file)
        replaced = {rule.name for rule in own}
        return cls([*own, *(rule for rule in builtin if rule.name not in replaced)], key)

    def find_touched(self, joined: bytes, offsets: Offsets) -> list[int]:
        """Which of the joined canonical lines rules touch, in order; a few are false alarms, none is missing."""
        self._searched_bytes += len(joined)
        is_much = self._searched_bytes >= SCANNER_BYTES
        suspects = self._scanner.find_last_bytes(joined) if is_much and self._scanner else None
        if suspects is None:
            spans = self.find_spans(joined)
            lines = (range(_line(offsets, start), _line(offsets, end - 1) + 1) for start, end in spans)
            return sorted(set(chain.from_iterable(lines)))
        suspect_lines = sorted({_line(offsets, position) for position in suspects})
        return [line for line in suspect_lines if self.find_spans(joined[offsets[line] : offsets[line + 1]])]

    @cached_property
    def _scanner(self) -> SecretScanner | None:
        """None with rules of somebody's own: only of the project's is it known that both engines read them alike."""
        if not set(self.rules) <= set(read_rules(RULES_FILE)):
            return None
        from analytics.secret_scanner import SecretScanner

        sought = [expression for rule in self.rules for expression in rule.sought]
        return SecretScanner([*sought, _ESCAPED_ZERO.decode()])

    def find_spans(self, buffer: bytes) -> list[tuple[int, int]]:
        """Where rules touch the buffer, in order; a few spans are false alarms, none is missing.

        The buffer may be many canonical lines without separators. A span may cross from one line into the
        next: then both are to be redacted.
        """
        return [
            (start, end)
            for start, end in (match.span() for match in self._detector.finditer(buffer))
            if buffer.startswith(_ESCAPED_ZERO, start)
            or self._is_secret_near(buffer[max(0, start - CONTEXT_BEFORE) : end + CONTEXT_BEHIND])
        ]

    def _is_secret_near(self, window: bytes) -> bool:
        """Most hits in real text are code such as `token = get_token()`: worth a look, not worth a whole line."""
        return any(next(_iter_secrets(replacer, window), None) is not None for replacer in self._replacers)

    def redact_json(self, line: bytes) -> bytes:
        """One canonical JSON line in, one valid JSON line out; unchanged where nothing is secret."""
        redacted = self.redact_bytes(line)
        if redacted is line:
            return line
        try:
            orjson.loads(redacted)
        except orjson.JSONDecodeError:
            return orjson.dumps(self._redact_value(orjson.loads(line)), option=orjson.OPT_SORT_KEYS)
        return redacted

    def redact_path(self, path: str) -> str:
        """A path. First each of its names without its ending: a secret in one must not look like `token = file.json`.

        Nor does it take along what stands behind it: the folders and endings that tell what a file is stay.
        """
        return self.redact_text("/".join(map(self._redact_name, path.split("/"))))

    def _redact_name(self, name: str) -> str:
        ending = _ENDING.search(name)
        end = len(name) if ending is None else ending.start()
        return self.redact_text(name[:end]) + name[end:]

    def redact_text(self, text: str) -> str:
        """An error message or any other text."""
        raw = text.encode("utf-8", "surrogatepass")
        redacted = self.redact_bytes(raw)
        return text if redacted is raw else redacted.decode("utf-8", "replace")

    def redact_bytes(self, raw: bytes) -> bytes:
        """Bytes of any kind. The very same object comes back where nothing is secret."""
        raw = self._redact_rounds(raw)
        if b"\0" not in raw and _ESCAPED_ZERO not in raw:
            return raw
        squeezed = _ZERO.sub(b"", raw)
        # UTF-16 hides a secret from rules on bytes. Only where it does are the zeros worth losing.
        redacted = self._redact_rounds(squeezed)
        return raw if redacted is squeezed else redacted

    def _redact_rounds(self, raw: bytes) -> bytes:
        """Redact until nothing changes: what a first tag uncovers is caught, and twice is once."""
        for _ in range(MAX_ROUNDS):
            if self._detector.search(raw) is None:
                return raw
            before = raw
            for replacer in self._replacers:
                raw = self._replace(replacer, raw)
            if raw is before:
                return raw
        return raw

    def _replace(self, replacer: _Replacer, raw: bytes) -> bytes:
        parts: list[bytes] = []
        done = 0
        for start, end, index in _iter_secrets(replacer, raw):
            parts += (raw[done:start], self._tag(replacer.names[index], raw[start:end]))
            done = end
        if not parts:
            return raw
        parts.append(raw[done:])
        return b"".join(parts)

    def _tag(self, name: bytes, secret: bytes) -> bytes:
        digest = hmac.digest(self._key, _ENCODING_NOISE.sub(b"", secret), "sha256")
        return b"[REDACTED:%b:%b]" % (name, digest.hex()[:8].encode())

    def _redact_value(self, value: Any) -> Any:
        """Redact what a replacement on the raw line would break, one key and one value at a time."""
        if isinstance(value, str):
            return self.redact_text(value)
        if isinstance(value, list):
            return [self._redact_value(item) for item in value]
        if isinstance(value, dict):
            redacted: dict[str, Any] = {}
            for name, item in value.items():
                safe_name, safe_item = self._redact_pair(name, item)
                redacted[_free_name(safe_name, redacted)] = safe_item
            return redacted
        return value

    def _redact_pair(self, name: str, item: Any) -> tuple[str, Any]:
        """A key gives its string value a meaning ("password": ...), so they are looked at together first."""
        if isinstance(item, str):
            with suppress(orjson.JSONDecodeError, ValueError):
                pair = orjson.loads(self.redact_bytes(orjson.dumps({name: item})))
                ((safe_name, safe_item),) = pair.items()
                return safe_name, safe_item
        return self.redact_text(name), self._redact_value(item)


def _line(offsets: Offsets, position: int) -> int:
    """Which of the joined lines holds the byte at this position."""
    return bisect_right(offsets, position) - 1


def _anchored(rule: Rule, pattern: str) -> bytes:
    return (TOKEN_START if rule.kind == "token" else b"") + b"(?:" + pattern.encode() + b")"


def _compile(program: bytes, *, never_capture: bool = False) -> Any:
    memory = DETECTOR_MEMORY if never_capture else REPLACER_MEMORY
    try:
        return re2.compile(program, engine_options(memory, never_capture=never_capture))
    except re2.error as error:
        raise ConfigError("secret rules: all rules together are too large for RE2. Shorten your own.") from error


def _compile_detector(rules: Iterable[Rule]) -> Any:
    # Tokens share their start, so it stands once: the automaton stays small and fast.
    tokens: list[bytes] = []
    others: list[bytes] = []
    for rule in rules:
        parts = tokens if rule.kind == "token" and not rule.triggers else others
        parts.extend(part for item in rule.sought if (part := b"(?:%b)" % item.encode()) not in parts)
    if tokens:
        others.insert(0, TOKEN_START + b"(?:" + b"|".join(tokens) + b")")
    return _compile(b"|".join((*others, _ZEROS)), never_capture=True)


def _compile_replacer(rules: Iterable[Rule]) -> _Replacer:
    parts, names, exceptions = [], [], []
    for rule in rules:
        unless = re2.compile(rule.unless.encode(), engine_options(REPLACER_MEMORY)) if rule.unless else None
        for pattern in rule.patterns:
            has_group = re2.compile(pattern.encode(), engine_options(REPLACER_MEMORY)).groups
            parts.append(_anchored(rule, pattern if has_group else f"({pattern})"))
            names.append(rule.name.encode())
            exceptions.append(unless)
    return _Replacer(_compile(b"|".join(parts)), tuple(names), tuple(exceptions))


def _iter_secrets(replacer: _Replacer, raw: bytes) -> Iterator[tuple[int, int, int]]:
    """Span and index of each secret. One that is left alone does not hide another behind its start."""
    tags = [tag.span() for tag in _TAG.finditer(raw)] if _TAG_START in raw else []
    position = 0
    while (match := replacer.program.search(raw, position)) is not None:
        start, end, index = _secret_of(match, len(replacer.names))
        if tags:
            start, end = _respect_tags(tags, start, end)
        exception = replacer.exceptions[index]
        if start >= end or (exception is not None and exception.fullmatch(raw[start:end])):
            position = max(start, match.start() + 1)
            continue
        # What another rule may need to see behind the secret, such as a quote, stays to be seen.
        position = end
        yield start, end, index


def _respect_tags(tags: list[tuple[int, int]], start: int, end: int) -> tuple[int, int]:
    """A secret ends or starts outside a tag, and what is one whole tag is no secret any more."""
    for index in range(bisect_right(tags, start, key=itemgetter(1)), len(tags)):
        tag_start, tag_end = tags[index]
        if tag_start >= end:
            break
        if tag_start <= start and end <= tag_end:
            return tag_end, tag_end
        if tag_start < start < tag_end:
            start = tag_end
        if tag_start < end < tag_end:
            end = tag_end
    return start, end


def _secret_of(match: Any, group_count: int) -> tuple[int, int, int]:
    for index in range(group_count):
        start, end = match.span(index + 1)
        if start >= 0:
            return start, end, index
    return 0, 0, 0


def _free_name(name: str, taken: Mapping[str, Any]) -> str:
    """Two keys that differ only in a secret get equal tags only for equal secrets, yet never drop a value."""
    candidate, number = name, 2
    while candidate in taken:
        candidate, number = f"{name}_{number}", number + 1
    return candidate
