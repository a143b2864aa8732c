"""Target `alerts`: what fired. Every `alert_<condition>` of gold is asked; a row of it is one firing.

The summary names what fires. ANALYTICS_WEBHOOK_URL, if set, is told once of each firing: which alert
and how many, never what is in the rows. `alert_key` tells one firing from another, whatever is measured
meanwhile; one that ended and begins again is told again. A webhook that does not answer is tried again by
the next run.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.request
from typing import TYPE_CHECKING

from analytics.errors import PublishError
from analytics.files import make_private_folder, write_private_file
from analytics.targets import Target, TargetResult
from analytics.targets.snapshot import current_version, open_current

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from analytics.config import Settings

PREFIX = "alert_"
TIMEOUT_S = 10


def publish(settings: Settings, run_id: str) -> TargetResult:
    """Read the firings, tell the webhook of the new ones, remember what was told."""
    started = time.monotonic()
    firings = read_firings(settings)
    if settings.webhook_url:
        _tell_what_is_new(settings, run_id, firings)
    firing = {name: len(keys) for name, keys in firings.items() if keys}
    return TargetResult(
        target="alerts",
        summary=f"{len(firing)} of {len(firings)} fire",
        location=", ".join(f"{name} ({count})" for name, count in firing.items()),
        elapsed_ms=round((time.monotonic() - started) * 1000),
        facts=dict(firing),
    )


def _has_alerts(settings: Settings) -> bool:
    version = current_version(settings)
    return version is not None and any(version.glob(f"{PREFIX}*.parquet"))


TARGET = Target(name="alerts", is_enabled=_has_alerts, publish=publish)


def read_firings(settings: Settings) -> dict[str, set[str]]:
    """Every alert with the keys of its firings, by name."""
    version = current_version(settings)
    names = sorted(file.stem for file in version.glob(f"{PREFIX}*.parquet")) if version else []
    with open_current(settings) as connection:
        return {
            name: {key for (key,) in connection.execute(f"select alert_key from gold.{name}").fetchall()}
            for name in names
        }


def build_message(run_id: str, firings: Mapping[str, set[str]], fresh: Mapping[str, set[str]]) -> dict[str, object]:
    """What the webhook is told: names and counts."""
    alerts = [
        {"alert": name, "firing_count": len(firings[name]), "new_count": len(keys)} for name, keys in fresh.items()
    ]
    return {"run": run_id, "alerts": alerts}


def _tell_what_is_new(settings: Settings, run_id: str, firings: Mapping[str, set[str]]) -> None:
    told = _read_told(settings)
    known = {name: keys & told.get(name, set()) for name, keys in firings.items()}
    fresh = {name: keys - known[name] for name, keys in firings.items() if keys - known[name]}
    if fresh:
        _remember(settings, known)  # what has ended is forgotten, even if nobody hears now of what is new
        _tell(settings.webhook_url, build_message(run_id, firings, fresh))
    _remember(settings, firings)


def _tell(url: str, message: Mapping[str, object]) -> None:
    request = urllib.request.Request(  # noqa: S310 config.py lets http and https through
        url, data=json.dumps(message).encode(), headers={"Content-Type": "application/json"}, method="POST"
    )
    try:
        with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
            pass
    except (OSError, http.client.HTTPException) as error:
        raise PublishError("alerts: the webhook did not take the message. The next run tries again.") from error


def _note_file(settings: Settings) -> Path:
    return settings.data_dir / "cache" / "alerts.json"


def _read_told(settings: Settings) -> dict[str, set[str]]:
    try:
        noted = json.loads(_note_file(settings).read_text(encoding="utf-8"))
        return {name: set(keys) for name, keys in noted.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}


def _remember(settings: Settings, firings: Mapping[str, set[str]]) -> None:
    make_private_folder(_note_file(settings).parent)
    content = json.dumps({name: sorted(keys) for name, keys in firings.items()})
    write_private_file(_note_file(settings), content.encode())
