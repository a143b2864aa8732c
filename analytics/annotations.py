"""The verbs `rate`, `tag` and `note`: what a person says about a session, put down for the next run."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any

from analytics.config import Settings
from analytics.errors import ConfigError
from analytics.files import shown_name
from analytics.limits import RATINGS, TAG_LIMIT
from analytics.printer import Printer

NOTE_LIMIT = 20_000
SESSION_LIMIT = 200
_PREFIX_LENGTH = 6
_SESSION_HELP = f"session id, or its beginning, of {_PREFIX_LENGTH} characters or more"

Verb = Callable[[str, Any, str], argparse.ArgumentParser]


def add_verbs(verb: Verb) -> None:
    """Add the three verbs to the command line, by its own way of adding one."""
    added = verb("rate", run_rate, "rate a session from 1 (bad) to 5 (good); the last rating counts")
    added.add_argument("session", help=_SESSION_HELP)
    added.add_argument("rating", type=int, choices=RATINGS, help="1 to 5")
    added = verb("tag", run_tag, "tag a session, or take tags off it")
    added.add_argument("session", help=_SESSION_HELP)
    added.add_argument("tags", nargs="+", metavar="TAG", help=f"tag of at most {TAG_LIMIT} characters")
    added.add_argument("--remove", action="store_true", help="take these tags off")
    added = verb("note", run_note, "add a note to a session; it stays in the lake, gold holds its length")
    added.add_argument("session", help=_SESSION_HELP)
    added.add_argument("note", help="the note, in quotes")


def run_rate(parsed: argparse.Namespace, settings: Settings) -> int:
    """`analytics rate SESSION 1-5`."""
    return _annotate(parsed, settings, [{"event_type": "rated", "rating": parsed.rating}], f"rated {parsed.rating}")


def run_tag(parsed: argparse.Namespace, settings: Settings) -> int:
    """`analytics tag SESSION TAG... [--remove]`."""
    tags = list(dict.fromkeys(clean_tag(tag) for tag in parsed.tags))
    event_type = "tag_removed" if parsed.remove else "tag_added"
    done = "untagged" if parsed.remove else "tagged"
    events = [{"event_type": event_type, "tag": tag} for tag in tags]
    return _annotate(parsed, settings, events, f"{done} {', '.join(tags)}")


def run_note(parsed: argparse.Namespace, settings: Settings) -> int:
    """`analytics note SESSION "text"`."""
    note = shown_name(parsed.note.strip())
    if not 0 < len(note) <= NOTE_LIMIT:
        raise ConfigError(f"note: a note has 1 to {NOTE_LIMIT:,} characters; this one has {len(note):,}.")
    event = {"event_type": "noted", "note": note}
    return _annotate(parsed, settings, [event], f"noted {len(note):,} characters")


def clean_tag(tag: str) -> str:
    """A tag without blanks around it. Raises ConfigError for one that is empty, long or not printable."""
    stripped = " ".join(tag.split())
    if not 0 < len(stripped) <= TAG_LIMIT or not stripped.isprintable():
        raise ConfigError(f"tag: a tag has 1 to {TAG_LIMIT} printable characters.")
    return stripped


def find_session(settings: Settings, session: str) -> tuple[str, bool]:
    """The session that an id, or the beginning of one, means, and whether it is known.

    Raises ConfigError where a beginning fits several sessions, or there is none to say.
    """
    if not 0 < len(session) <= SESSION_LIMIT or not session.isprintable():
        raise ConfigError(f"session: an id has 1 to {SESSION_LIMIT} printable characters.")
    known = _published_sessions(settings)
    if session in known:
        return session, True
    fitting = (
        [candidate for candidate in known if candidate.startswith(session)] if len(session) >= _PREFIX_LENGTH else []
    )
    if len(fitting) > 1:
        raise ConfigError(f"session: {len(fitting)} sessions begin with {session}. Give more of the id.")
    return (fitting[0], True) if fitting else (session, False)


def _published_sessions(settings: Settings) -> set[str]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        file = pq.ParquetFile(settings.published_dir / "current" / "dim_sessions.parquet")
        table = file.read(["session_id"])
    except (OSError, pa.ArrowException):
        return set()
    return set(table["session_id"].to_pylist())


def _annotate(parsed: argparse.Namespace, settings: Settings, events: list[dict[str, Any]], done: str) -> int:
    from analytics.lake import Lake
    from analytics.sources.annotations import write_events

    session, is_known = find_session(settings, parsed.session)
    lake = Lake(settings.data_dir, settings.host_id)
    write_events(settings, lake, [{**event, "session_id": session} for event in events])
    printer = Printer(settings, is_json=parsed.json, is_quiet=parsed.quiet)
    if not is_known:
        printer.story("warning", f"{session} is no published session; kept, in case it comes")
    facts = {"session_id": session, "is_known": is_known, "event_count": len(events)}
    printer.facts(facts, [f"ok         {session}: {done}; in the marts after the next run"])
    return 0
