"""Print .env.example: every setting of analytics/config.py with its meaning and its default."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from analytics.config import environment_name, iter_settings

HEAD = """\
# Copy to .env. Every setting has a default that works; uncomment what you want to change.
# docker compose needs one that has none: the password of Metabase's admin.
ANALYTICS_METABASE_PASSWORD=

# For docker compose: who owns data/ on this machine (id -u, id -g) and where Claude Code keeps its files.
# HOST_UID=1000
# HOST_GID=1000
# HOST_CLAUDE_DIR=~/.claude
"""


def render() -> str:
    parts = [HEAD]
    for entry in iter_settings():
        name = environment_name(entry.name)
        if name == "ANALYTICS_METABASE_PASSWORD":
            continue
        # A default that depends on the machine (its time zone, its cores) is not written down.
        default = "" if entry.default is dataclasses.MISSING or entry.default in (None, (), "") else entry.default
        parts.append(f"# {entry.metadata['meaning']}\n# {name}={default}\n")
    return "\n".join(parts)


if __name__ == "__main__":
    sys.stdout.write(render())
