"""One Metabase over HTTP: its health, a session in it, and calls that never repeat a secret in an error."""

from __future__ import annotations

import http.client
import json
import logging
import re
import time
import urllib.error
import urllib.request
from typing import TYPE_CHECKING, Any

from analytics.errors import ConfigError, PublishError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from analytics.config import Settings

_log = logging.getLogger(__name__)

SITE_NAME = "Claude Code analytics"
TIMEOUT_S = 30.0


class Client:
    """One Metabase, and the session in it."""

    def __init__(self, url: str) -> None:
        if not re.match(r"https?://", url):
            raise ConfigError("ANALYTICS_METABASE_URL must start with http:// or https://.")
        self._url = url.rstrip("/")
        self.session = ""

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        """The answer as JSON. Raises PublishError with the status and never with the body that was sent.

        Raises ConfigError for an answer that no Metabase gives: waiting would not help.
        """
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self.session:
            headers["X-Metabase-Session"] = self.session
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(f"{self._url}{path}", data, headers, method=method)  # noqa: S310 see __init__
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310
                content = answer.read()
            return json.loads(content) if content else None
        except urllib.error.HTTPError as error:
            hint = " Mend ANALYTICS_METABASE_USER or ANALYTICS_METABASE_PASSWORD." if error.code == 401 else ""
            raise PublishError(f"metabase: {method} {path} was answered {error.code}.{_reason(error)}{hint}") from error
        except OSError as error:
            raise PublishError(
                f"metabase: {self._url} cannot be reached ({type(error).__name__}). Start it."
            ) from error
        except (http.client.HTTPException, ValueError) as error:
            raise ConfigError(f"ANALYTICS_METABASE_URL: what answers at {self._url} is no Metabase.") from error

    def wait_until_healthy(self, timeout_s: float) -> None:
        """Wait for a Metabase that is still starting, which takes a minute the first time."""
        deadline = time.monotonic() + timeout_s
        is_told = False
        while True:
            try:
                if self.call("GET", "/api/health").get("status") == "ok":
                    return
            except PublishError:
                if time.monotonic() > deadline:
                    raise
            if time.monotonic() > deadline:
                raise PublishError(f"metabase: {self._url} is not healthy after {timeout_s:.0f} s. See its log.")
            if not is_told:
                is_told = True
                _log.warning("metabase: %s does not answer yet; waiting for it up to %.0f s", self._url, timeout_s)
            time.sleep(1.0)


def _reason(error: urllib.error.HTTPError) -> str:
    """The names of the fields that Metabase objects to; their values may be secrets."""
    try:
        answer = json.loads(error.read())
    except (ValueError, OSError):
        return ""
    fields = answer.get("errors") if isinstance(answer, dict) else None
    return f" It objects to: {', '.join(sorted(fields))}." if isinstance(fields, dict) and fields else ""


def log_in(client: Client, settings: Settings) -> None:
    """Take a session, after making the first admin in a Metabase that has none."""
    if not settings.metabase_password:
        raise ConfigError("metabase: set ANALYTICS_METABASE_PASSWORD, the password of its admin.")
    properties = client.call("GET", "/api/session/properties")
    if not _has_admin(properties) and properties.get("setup-token"):
        answer = client.call(
            "POST",
            "/api/setup",
            {
                "token": properties["setup-token"],
                "user": {
                    "email": settings.metabase_user,
                    "password": settings.metabase_password,
                    "first_name": "Analytics",
                    "last_name": "Admin",
                },
                "prefs": {"site_name": SITE_NAME, "site_locale": "en", "allow_tracking": False},
            },
        )
    else:
        body = {"username": settings.metabase_user, "password": settings.metabase_password}
        answer = client.call("POST", "/api/session", body)
    client.session = answer["id"]


def is_set_up(client: Client) -> bool:
    """Whether this Metabase has an admin."""
    return _has_admin(client.call("GET", "/api/session/properties"))


def _has_admin(properties: Mapping[str, Any]) -> bool:
    return bool(properties.get("has-user-setup"))
