from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from analytics.config import environment_name, iter_settings, load_settings, read_dotenv
from analytics.lake.lock import LOCK_FILE, hold_lock

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVICES = COMPOSE["services"]
ONE_SHOT = {"first-run"}
EXAMPLE = ROOT / ".env.example"


def tool(name):
    path = shutil.which(name, path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    if path is None and os.environ.get("CI") != "true":
        pytest.skip(f"{name} is not installed")
    assert path, f"{name} is not installed"
    return path


def test_compose_file_fits_the_compose_specification():
    command = [tool("check-jsonschema"), "--builtin-schema", "vendor.compose-spec", "docker-compose.yml"]
    outcome = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("file", ["Dockerfile", "docker/metabase/Dockerfile"])
def test_dockerfile_passes_hadolint(file):
    outcome = subprocess.run([tool("hadolint"), file], cwd=ROOT, capture_output=True, text=True, check=False)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_reachable_from_this_machine_only(name):
    for port in SERVICES[name].get("ports", []):
        assert port.startswith("127.0.0.1:"), port


@pytest.mark.parametrize("name", SERVICES)
def test_service_is_pinned_checked_and_restarted(name):
    service = SERVICES[name]
    tag = service["image"].rpartition(":")[2]
    assert tag == "local" or re.match(r"\d+\.\d+", tag), service["image"]
    assert service["restart"] in ("no", "unless-stopped")
    assert ("healthcheck" in service) == (name not in ONE_SHOT)


@pytest.mark.parametrize("name", SERVICES)
def test_service_does_not_run_as_root(name):
    assert SERVICES[name]["user"].split(":")[0] not in ("", "root", "0")


def test_readers_mount_what_is_published_read_only():
    for name in ("metabase", "site"):
        mounts = [mount for mount in SERVICES[name]["volumes"] if mount.startswith("./data")]
        assert mounts == ["./data/published:/published:ro"]


def test_transcripts_are_mounted_read_only_and_never_made():
    """Where Claude Code had not run yet, Docker made ~/.claude/projects, and root owned it."""
    for name in ("first-run", "analytics-worker"):
        (mount,) = [mount for mount in SERVICES[name]["volumes"] if isinstance(mount, dict)]
        assert (mount["target"], mount["read_only"]) == ("/transcripts", True)
        assert mount["bind"] == {"create_host_path": False}


def start(service, folder, *, is_published, **codes):
    """Run a service's command where each program does nothing but end as told. Returns its code and who was called."""
    (folder / "dbt").mkdir(parents=True)
    if is_published:
        (folder / "data" / "published").mkdir(parents=True)
        (folder / "data" / "published" / "marts.duckdb").touch()
    calls = folder / "calls"
    for name in ("analytics", "dbt", "cp", "python"):
        program = folder / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\necho {name} "$1" >> {calls}\nexit {codes.get(name, 0)}\n')
        program.chmod(0o700)
    shell, flag, script = SERVICES[service]["command"]
    assert not re.search(r"(?<!\$)\$(?!\$|\{)", script), "compose would put a variable of its own there"
    script = script.replace("$$", "$").replace("/app/data", str(folder / "data"))
    environment = {"PATH": f"{folder / 'bin'}{os.pathsep}{os.environ['PATH']}"}
    outcome = subprocess.run([shell, flag, script], cwd=folder, env=environment, capture_output=True, check=False)
    return outcome.returncode, [" ".join(line.split()[:2]) for line in calls.read_text().splitlines()]


@pytest.mark.parametrize(
    ("code", "is_published", "expected"),
    [
        (0, True, 0),
        (1, True, 0),  # a source or a target failed
        (3, True, 0),  # an audit failed; readers have the version before it
        (75, True, 0),  # the worker is running the pipeline
        (1, False, 1),
        (3, False, 3),
    ],
)
def test_first_run_stops_the_others_only_where_there_is_nothing_to_read(tmp_path, code, is_published, expected):
    """Any failure kept worker, Metabase and site from starting, whatever was published."""
    ended, called = start("first-run", tmp_path, is_published=is_published, analytics=code)
    assert ended == expected
    docs = ["dbt docs", "cp /tmp/dbt-docs/static_index.html"]
    assert called == ["analytics run", *(docs if is_published else [])]


def test_first_run_does_without_the_docs_of_dbt(tmp_path):
    assert start("first-run", tmp_path, is_published=True, dbt=1) == (0, ["analytics run", "dbt docs"])


@pytest.mark.parametrize("code", [0, 1, 3])
def test_worker_runs_every_hour_whatever_became_of_what_it_publishes_first(tmp_path, code):
    """It was started over and over, and never came to the flow that would have mended it."""
    assert start("analytics-worker", tmp_path, is_published=True, analytics=code) == (
        0,
        ["analytics publish", "python -m"],
    )


@pytest.mark.parametrize(
    ("hours_ago", "interval", "is_healthy"), [(0.9, "", True), (4, "", False), (4, "6", True), (None, "", False)]
)
def test_worker_is_healthy_as_long_as_it_runs_the_pipeline(tmp_path, hours_ago, interval, is_healthy):
    """It was once anything had ever been published, also when its schedule hung for days."""
    (tmp_path / "published" / "current").mkdir(parents=True)
    if hours_ago is not None:
        with hold_lock(tmp_path):
            began = time.time() - hours_ago * 3600
        os.utime(tmp_path / LOCK_FILE, (began, began))
    kind, _, *arguments = SERVICES["analytics-worker"]["healthcheck"]["test"]
    assert kind == "CMD"
    command = [sys.executable, *(argument.replace("/app/data", str(tmp_path)) for argument in arguments)]
    environment = {"ANALYTICS_RUN_INTERVAL_HOURS": interval}
    assert (subprocess.run(command, env=environment, capture_output=True, check=False).returncode == 0) == is_healthy


def test_make_up_writes_the_settings_that_have_no_default(tmp_path):
    """README's two commands could not start: the password in .env.example is empty. Found by a trial."""
    for name in ("Makefile", ".env.example"):
        shutil.copy(ROOT / name, tmp_path)
    for _ in range(2):
        subprocess.run(["make", ".env"], cwd=tmp_path, capture_output=True, check=True)
    file = tmp_path / ".env"
    values = read_dotenv(file)
    assert re.fullmatch(r"\w{24}", values["ANALYTICS_METABASE_PASSWORD"])
    assert (values["HOST_UID"], values["HOST_GID"]) == (str(os.getuid()), str(os.getgid()))
    assert file.stat().st_mode & 0o077 == 0
    needed = re.findall(r"\$\{(\w+):\?", (ROOT / "docker-compose.yml").read_text(encoding="utf-8"))
    assert needed
    assert {name for name in needed if not values.get(name)} == set()


def test_server_has_the_packages_of_the_worker_and_writes_where_it_may():
    """With others its scheduler may make no runs; unless told, Prefect writes pages among them, which are root's."""
    server = SERVICES["prefect-server"]
    assert server["image"] == SERVICES["analytics-worker"]["image"]
    for name in ("HOME", "PREFECT_HOME", "PREFECT_UI_STATIC_DIRECTORY"):
        assert Path("/tmp") in [Path(server["environment"][name]), *Path(server["environment"][name]).parents]


def test_compose_file_holds_no_secret():
    for name, service in SERVICES.items():
        for key, value in (service.get("environment") or {}).items():
            if re.search("PASSWORD|SECRET|TOKEN", key):
                assert str(value).startswith("${"), f"{name}: {key}"


def test_volumes_are_declared_and_used():
    named = {
        mount.split(":")[0]
        for service in SERVICES.values()
        for mount in service.get("volumes", [])
        if isinstance(mount, str) and re.match(r"[a-z]", mount)
    }
    assert named == set(COMPOSE["volumes"])


def test_compose_sets_known_settings_only():
    known = {environment_name(entry.name) for entry in iter_settings()}
    used = set(re.findall(r"(?<![A-Z_])ANALYTICS_[A-Z_]+", (ROOT / "docker-compose.yml").read_text()))
    assert used <= known


def test_env_example_names_every_setting_with_its_meaning():
    """After a setting was added: `python tests/dashboards/env_example.py > .env.example`."""
    outcome = subprocess.run(
        [sys.executable, "tests/dashboards/env_example.py"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert EXAMPLE.read_text() == outcome.stdout


def test_env_example_is_read_as_it_is(tmp_path):
    assert read_dotenv(EXAMPLE).get("ANALYTICS_METABASE_PASSWORD") == ""
    assert load_settings(environment={"HOME": str(tmp_path)}, dotenv=EXAMPLE).content == "redacted"
