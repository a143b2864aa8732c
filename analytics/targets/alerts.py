"""Target `alerts`: what fired. Every `alert_<condition>` of gold is asked; a row of it is one firing.

The summary names what fires. ANALYTICS_WEBHOOK_URL, if set, is told once of each firing: which alert,
how severe and how many, never what is in the rows. `alert_key` tells one firing from another, whatever is measured
meanwhile; one that ended and begins again is told again. A webhook that does not answer is tried again by
the next run.
"""

from __future__ import annotations

import http.client
import json
import time
from typing import TYPE_CHECKING

from analytics import webhook
from analytics.errors import PublishError
from analytics.files import make_private_folder, write_private_file
from analytics.targets import Target, TargetResult
from analytics.targets.snapshot import current_version, open_current

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from analytics.config import Settings

PREFIX = "alert_"
Firings = dict[str, dict[str, str]]  # of each alert: the keys of its firings, and how severe each is


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Read the firings, tell the webhook of the new ones, remember what was told."""
    started = time.monotonic()
    firings = read_firings(settings)
    if settings.webhook_url:
        _tell_what_is_new(settings, run_id, firings)
    firing = _count(firings)
    return TargetResult(
        target="alerts",
        summary=f"{len(firing)} of {len(firings)} fire",
        location=_shown(firing),
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts=dict(firing),
    )


def _count(firings: Firings) -> dict[str, int]:
    return {name: len(keys) for name, keys in firings.items() if keys}


def _shown(firing: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in firing.items())


def _has_alerts(settings: Settings) -> bool:
    version = current_version(settings)
    return version is not None and any(version.glob(f"{PREFIX}*.parquet"))


TARGET = Target(name="alerts", is_enabled=_has_alerts, publish=publish)


def read_firings(settings: Settings) -> Firings:
    """What fires of every alert, by its name."""
    version = current_version(settings)
    names = sorted(file.stem for file in version.glob(f"{PREFIX}*.parquet")) if version else []
    with open_current(settings) as connection:
        return {
            name: dict(connection.execute(f"select alert_key, severity from gold.{name}").fetchall()) for name in names
        }


def build_facts(run_id: str, firings: Firings, fresh: Firings) -> dict[str, object]:
    """What the webhook is told beside the text: names, severities and counts."""
    alerts = [
        {
            "alert": name,
            "severity": next(iter(keys.values())),  # which is the alert's own, whatever fires
            "firing_count": len(firings[name]),
            "new_count": len(keys),
        }
        for name, keys in fresh.items()
    ]
    return {"run": run_id, "alerts": alerts}


def _tell_what_is_new(settings: Settings, run_id: str, firings: Firings) -> None:
    told = _read_told(settings)
    known = {name: keys.keys() & told.get(name, set()) for name, keys in firings.items()}
    fresh = {
        name: {key: severity for key, severity in keys.items() if key not in known[name]}
        for name, keys in firings.items()
        if keys.keys() - known[name]
    }
    if fresh:
        _remember(settings, known)  # what has ended is forgotten, even if nobody hears now of what is new
        facts = build_facts(run_id, firings, fresh)
        try:
            webhook.post(settings.webhook_url, f"Claude Code analytics: {_shown(_count(fresh))} fired", facts)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise PublishError(
                f"alerts: {_shown(_count(firings))} fire, and the webhook did not take the message. "
                "Check ANALYTICS_WEBHOOK_URL; the next run tries again."
            ) from error
    _remember(settings, firings)


def _note_file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "alerts.json"


def _read_told(settings: Settings) -> dict[str, set[str]]:
    try:
        noted = json.loads(_note_file(settings).read_text(encoding="utf-8"))
        return {name: set(keys) for name, keys in noted.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(settings: Settings, firings: Mapping[str, Iterable[str]]) -> None:
    make_private_folder(_note_file(settings).parent)
    content = json.dumps({name: sorted(keys) for name, keys in firings.items()})
    write_private_file(_note_file(settings), content.encode())
