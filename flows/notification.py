"""Tell a webhook that a run failed: which flow, run and stage, and the class of the error. Never a message or a row."""

from __future__ import annotations

import http.client
import logging
from typing import TYPE_CHECKING, Any

from analytics import webhook
from analytics.config import load_settings
from analytics.errors import AnalyticsError

if TYPE_CHECKING:
    from prefect.client.schemas.objects import FlowRun, State
    from prefect.flows import Flow

_logger = logging.getLogger(__name__)

# The stage that the flow run of a given id is in; a hook is handed the run, not its variables.
STAGE_OF_RUN: dict[str, str] = {}


def notify_failure(flow: Flow[Any, Any], flow_run: FlowRun, state: State[Any]) -> None:
    """Prefect calls this when a flow run failed, crashed or was cancelled."""
    message = build_message(flow.name, flow_run, state)
    try:
        url = load_settings().webhook_url
    except AnalyticsError:
        return
    if url:
        post_failure(url, message)


def build_message(flow_name: str, flow_run: FlowRun, state: State[Any]) -> dict[str, str]:
    """What is told; `error` is the class of the failure, or the state where there is none."""
    error = getattr(state, "data", None)
    error_type = type(error).__name__ if isinstance(error, BaseException) else _error_of(state)
    return {
        "flow": flow_name,
        "run": flow_run.name,
        "stage": STAGE_OF_RUN.pop(str(flow_run.id), "unknown"),
        "error": error_type,
    }


def _error_of(state: State[Any]) -> str:
    """The class in a state whose exception has been stored away: Prefect begins its message with it."""
    message = state.message or ""
    for candidate in message.replace("(", " ").replace(":", " ").split():
        if candidate.endswith(("Error", "Failed", "Unavailable", "Held", "Violation", "Timeout")):
            return candidate
    return str(state.name)


def post_failure(url: str, message: dict[str, str]) -> None:
    """Post JSON. A webhook that does not answer is logged and changes nothing else."""
    text = "Claude Code analytics: {run} failed in stage {stage}: {error}".format(**message)
    try:
        webhook.post(url, text, message)
    except (OSError, http.client.HTTPException, ValueError) as error:
        _logger.warning("webhook not reached: %s", type(error).__name__)
