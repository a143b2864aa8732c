"""WHEN: Prefect around the stages of `analytics`. A task is one call into them; nothing is decided here."""
