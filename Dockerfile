# The worker: the pipeline, dbt, the checks and the hourly flow.
# No engine was at hand where this was written: hadolint and a test judge it, `make metabase-smoke` tries it.
ARG PYTHON_VERSION=3.12.11
FROM python:${PYTHON_VERSION}-slim-bookworm

ENV PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    DO_NOT_TRACK=1 \
    GX_ANALYTICS_ENABLED=false \
    PREFECT_SERVER_ANALYTICS_ENABLED=false \
    DBT_SEND_ANONYMOUS_USAGE_STATS=false \
    HOME=/home/analytics

WORKDIR /app
COPY pyproject.toml constraints.txt README.md ./
COPY analytics analytics
COPY flows flows
RUN pip install --constraint constraints.txt --editable .
COPY dbt dbt
COPY great_expectations great_expectations
COPY data/sample data/sample

# Whoever owns the data folder runs it (HOST_UID), so what the tools write for themselves is open to all users.
RUN useradd --create-home --uid 1000 analytics \
    && mkdir -p /app/.prepared /app/dbt/target /app/dbt/logs /site /app/great_expectations/uncommitted \
    && ANALYTICS_TIMEZONE=UTC python -m analytics.warm_up \
    && chmod -R 0777 /home/analytics /app/.prepared /app/dbt/target /app/dbt/logs /site /app/great_expectations/uncommitted
USER 1000:1000
VOLUME ["/app/data"]
CMD ["python", "-m", "flows.deployments"]
