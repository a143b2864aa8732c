"""WHEN: Prefect around the stages of `analytics`. A task is one call into them; nothing is decided here."""

from analytics import telemetry

telemetry.switch_off()  # before Prefect is imported, which it is by what stands in here
