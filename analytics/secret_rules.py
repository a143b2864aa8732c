"""The rules by which the redactor finds secrets: RE2 expressions, in TOML files of one shape.

The built-in ones stand in `secret_rules.toml`; a user's file adds to them and replaces those of the same
name. RE2 is linear in its input, so no transcript can stall a run.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

import re2

from analytics.errors import ConfigError

if TYPE_CHECKING:
    from collections.abc import Mapping

RULES_FILE = Path(__file__).with_name("secret_rules.toml")
REPLACER_MEMORY = 64 << 20

Kind = Literal["block", "token", "context", "personal"]  # in the order of replacement

_RULE_FIELDS = {"name", "description", "kind", "pattern", "unless", "trigger", "examples"}


@dataclass(frozen=True)
class Rule:
    """One kind of secret, as the rules file words it, fragments inserted."""

    name: str
    description: str
    kind: Kind
    patterns: tuple[str, ...]
    unless: str = ""
    triggers: tuple[str, ...] = ()
    examples: tuple[str, ...] = ()

    @property
    def sought(self) -> tuple[str, ...]:
        """What is looked for in much text: the triggers, or the patterns where there are none."""
        return self.triggers or self.patterns


def read_rules(path: Path) -> list[Rule]:
    """The rules of one file, fragments inserted.

    Raises:
        ConfigError: the file cannot be read or a rule is malformed.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"secret rules: {path} cannot be read. Mend ANALYTICS_SECRET_RULES_FILE.") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"secret rules: {path} is no valid TOML: {error}.") from error
    if unknown := set(document) - {"rules", "fragments"}:
        raise ConfigError(f"secret rules: {path} has a table {min(unknown)!r}. Rules stand under [[rules]].")
    entries, fragments = document.get("rules", []), document.get("fragments", {})
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise ConfigError(f"secret rules: {path} must hold its rules as [[rules]].")
    rules = [_parse_rule(entry, fragments, position) for position, entry in enumerate(entries, start=1)]
    names = [rule.name for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"secret rules: {path} has rule {name!r} more than once.")
    return rules


def _parse_rule(entry: Mapping[str, Any], fragments: Mapping[str, str], position: int) -> Rule:
    name = entry.get("name", "")
    if not isinstance(name, str) or not re.fullmatch(r"[a-z][a-z0-9_]{0,39}", name):
        raise ConfigError(f"secret rules: rule number {position} needs a name of lower case letters, digits and _.")
    if unknown := set(entry) - _RULE_FIELDS:
        raise ConfigError(f"secret rules: rule {name!r} has a field {min(unknown)!r} that no rule has.")
    kind = entry.get("kind", "token")
    patterns, triggers = (_alternatives(entry.get(field, [])) for field in ("pattern", "trigger"))
    if not patterns:
        raise ConfigError(f"secret rules: rule {name!r} needs a pattern.")
    if kind not in get_args(Kind):
        raise ConfigError(f"secret rules: rule {name!r} must be of kind {', '.join(get_args(Kind))}.")
    if triggers is None or not all(isinstance(entry.get(field, ""), str) for field in ("description", "unless")):
        raise ConfigError(f"secret rules: description, unless and trigger of rule {name!r} must be texts.")

    def insert(text: str) -> str:
        return re.sub(r"\(\?&(\w+)\)", lambda mark: _fragment(mark[1], fragments, name), text)

    rule = Rule(
        name=name,
        description=entry.get("description", ""),
        kind=kind,
        patterns=tuple(insert(item) for item in patterns),
        unless=insert(entry.get("unless", "")),
        triggers=tuple(insert(item) for item in triggers),
        examples=tuple(entry.get("examples", ())),
    )
    _check_rule(rule)
    return rule


def _alternatives(field: object) -> list[str] | None:
    """What stands there, as a text or a list of texts; None where it is anything else."""
    items = field if isinstance(field, list) else [field]
    return items if all(isinstance(item, str) and item for item in items) else None


def _fragment(fragment: str, fragments: Mapping[str, str], rule_name: str) -> str:
    if not isinstance(fragments.get(fragment), str):
        raise ConfigError(f"secret rules: rule {rule_name!r} uses a fragment {fragment!r} that its file lacks.")
    return f"(?:{fragments[fragment]})"


def _check_rule(rule: Rule) -> None:
    for part in filter(None, (*rule.patterns, *rule.triggers, rule.unless)):
        try:
            program = re2.compile(part.encode(), engine_options(REPLACER_MEMORY))
        except re2.error as error:
            cause = error.args[0] if error.args else error
            cause = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else cause
            raise ConfigError(
                f"secret rules: rule {rule.name!r} does not compile: {cause}. Patterns are RE2, without look-around."
            ) from error
        if part in rule.patterns and program.groups > 1:
            raise ConfigError(
                f"secret rules: rule {rule.name!r} has {program.groups} groups. Only the secret is one: use (?:...)."
            )
        if part != rule.unless and program.search(b"") is not None:
            raise ConfigError(f"secret rules: rule {rule.name!r} matches the empty text.")


def engine_options(memory: int, *, never_capture: bool = False) -> Any:
    """How RE2 compiles our expressions: over bytes, within a bound of memory."""
    options = re2.Options()
    options.encoding = re2.Options.Encoding.LATIN1
    options.max_mem = memory
    options.log_errors = False
    options.never_capture = never_capture
    return options
