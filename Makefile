# Every target does its own set-up: a .venv from constraints.txt, nothing else. `make` lists them.
SHELL := /bin/bash
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CONSTRAINTS := constraints.txt
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint $(CONSTRAINTS)
PYTEST := $(BIN)/python -m pytest -m 'not torture and not benchmark' -q --numprocesses 2 --dist loadfile
# The next major version, for which the code is kept ready: Metabase's driver, and so constraints.txt, is not there yet.
NEXT_DUCKDB := 2.0.0

.DEFAULT_GOAL := help
.PHONY: help run test test-duckdb2 coverage check format bench torture schedule up down docs picture metabase-smoke clean

help: ## list the targets
	@grep -hE '^[a-z][a-z-]*:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

$(VENV)/.run: pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' \
		|| { echo "Python 3.11, 3.12 or 3.13 is needed; name one with: make PYTHON=python3.11 ..." >&2; exit 1; }
	@echo "setting up $(VENV) (once, about a minute)" >&2
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) --editable .
	@$(BIN)/python -m analytics.warm_up
	@touch $@

$(VENV)/.dev: $(VENV)/.run
	@echo "setting up the tools of tests and checks (once)" >&2
	@$(PIP) --editable '.[dev]'
	@touch $@

run: $(VENV)/.run ## set up, then run the pipeline: your own sessions, or sample data if there are none
	@$(BIN)/analytics run

test: $(VENV)/.dev ## set up, then run every test
	@$(PYTEST)

test-duckdb2: ## the same on the next DuckDB, set up beside the pinned one
	@mkdir -p $(VENV)/duckdb2
	@sed 's/^duckdb==.*/duckdb==$(NEXT_DUCKDB)/' constraints.txt >$(VENV)/duckdb2/constraints.txt
	@$(MAKE) --no-print-directory test VENV=$(VENV)/duckdb2 CONSTRAINTS=$(VENV)/duckdb2/constraints.txt

coverage: $(VENV)/.dev ## every test, and which lines none of them reaches; fails under 80 %
	@$(PYTEST) --cov --cov-report term

check: $(VENV)/.dev ## ruff, mypy, sqlfluff: the conventions that tools can hold
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy
	@cd dbt && ../$(BIN)/sqlfluff lint --nocolor --disable-progress-bar models tests

format: $(VENV)/.dev ## mend what tools can mend
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .
	@cd dbt && ../$(BIN)/sqlfluff fix --nocolor --disable-progress-bar models tests

torture: $(VENV)/.dev ## the long fault-injection tests
	@$(BIN)/python -m pytest -m torture -q

bench: $(VENV)/.dev ## measure speed and memory on a generated corpus, as ratios within one run
	@set -e; for bench in tests/bench/bench_*.py; do echo "$$bench" >&2; \
		$(BIN)/python -m "tests.bench.$$(basename "$$bench" .py)"; done

schedule: $(VENV)/.run ## run the pipeline every hour on this machine, until stopped
	@$(BIN)/python -m flows.deployments

up: .env ## for people with Docker: Prefect, Metabase and a run every hour, in the background
	@docker compose up --build --detach

down: ## stop what `make up` started; data/ and what Metabase and Prefect know stay
	@docker compose down

# A password for Metabase's admin, and the owner of data/, whom the containers run as.
.env:
	@umask 077; password=$$(LC_ALL=C tr -dc A-Za-z0-9 </dev/urandom | head -c 24); \
		sed -e "s/^ANALYTICS_METABASE_PASSWORD=.*/ANALYTICS_METABASE_PASSWORD=$$password/" \
		-e "s/^# HOST_UID=.*/HOST_UID=$$(id -u)/" -e "s/^# HOST_GID=.*/HOST_GID=$$(id -g)/" .env.example >$@
	@echo "wrote .env: Metabase's admin is ANALYTICS_METABASE_USER, by default admin@example.com" >&2

docs: $(VENV)/.run ## write the data dictionary and dbt's static docs
	@$(BIN)/python -m analytics.dictionary
	@cd dbt && ../$(BIN)/dbt docs generate --static --quiet

picture: $(VENV)/.dev ## draw the README's picture of the report from the sample (needs chromium)
	@$(BIN)/python tests/dashboards/picture.py docs/images/dashboard.png

metabase-smoke: .env ## for people with Docker: start all, wait for Metabase and list its dashboards
	@docker/smoke.sh

clean: ## remove what can be rebuilt; the lake in data/raw stays
	@rm -rf $(VENV) .prepared dbt/target dbt/logs .mypy_cache .ruff_cache .pytest_cache .hypothesis data/warehouse.duckdb*
