"""The address that is told of failures and alerts: one POST of JSON, of names and counts."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Mapping

TIMEOUT_S = 10


def post(url: str, text: str, facts: Mapping[str, object]) -> None:
    """Post the facts, and a `text` that a person reads: chat services want one, and Slack refuses what has none.

    Raises OSError, http.client.HTTPException or ValueError where nobody takes it.
    """
    body = json.dumps({"text": text, **facts}).encode()
    request = urllib.request.Request(  # noqa: S310 - config.py lets http and https through
        url, data=body, headers={"Content-Type": "application/json"}, method="POST"
    )
    with urllib.request.urlopen(request, timeout=TIMEOUT_S):  # noqa: S310
        pass
