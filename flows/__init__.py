"""WHEN: Prefect around the stages of `analytics`. A task is one call into them; nothing is decided here."""

import os

# Prefect tells its makers about flows unless this is set before it is imported, which it is by what stands in here.
QUIET_ENVIRONMENT = {"DO_NOT_TRACK": "1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
os.environ.update(QUIET_ENVIRONMENT)
