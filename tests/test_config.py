from __future__ import annotations

from pathlib import Path

import pytest

from analytics import config
from analytics.config import iter_settings, load_settings, machine_timezone, read_dotenv
from analytics.errors import ConfigError


def load(tmp_path: Path, environment: dict[str, str] | None = None, **overrides: str):
    return load_settings(overrides, environment=environment or {}, dotenv=tmp_path / ".env")


def test_load_settings_has_a_working_default_for_every_setting(tmp_path):
    settings = load(tmp_path)
    assert settings.content == "redacted"
    assert settings.data_dir == config.PROJECT_DIR / "data"
    assert settings.warehouse_file.parent == settings.published_dir.parent == settings.data_dir


def test_load_settings_lets_flags_win_over_the_environment_and_that_over_dotenv(tmp_path):
    (tmp_path / ".env").write_text("ANALYTICS_CONTENT=full\nANALYTICS_KEEP_VERSIONS=5\nANALYTICS_TIMEZONE=Asia/Tokyo\n")
    environment = {"ANALYTICS_CONTENT": "metadata", "ANALYTICS_TIMEZONE": "Europe/Berlin"}
    settings = load(tmp_path, environment, timezone="UTC")
    assert (settings.timezone, settings.content, settings.keep_versions) == ("UTC", "metadata", 5)


def test_load_settings_is_the_same_wherever_a_command_is_started(tmp_path, monkeypatch):
    """A cron line, which starts in the home folder, began a second lake there and did not see the project's .env."""
    clone, elsewhere = tmp_path / "clone", tmp_path / "elsewhere"
    clone.mkdir()
    elsewhere.mkdir()
    monkeypatch.setattr(config, "PROJECT_DIR", clone)
    monkeypatch.chdir(elsewhere)
    (elsewhere / ".env").write_text("ANALYTICS_CONTENT=full\n")
    assert load_settings(environment={}).data_dir == clone / "data"
    (clone / ".env").write_text("ANALYTICS_DATA_DIR=kept\nANALYTICS_TRANSCRIPT_DIRS=a:/b\n")
    settings = load_settings(environment={})
    assert (settings.data_dir, settings.content) == (clone / "kept", "redacted")
    assert settings.transcript_dirs == (clone / "a", Path("/b"))
    assert load_settings(environment={"ANALYTICS_PRICES_FILE": "p.csv"}).prices_file == elsewhere / "p.csv"
    assert load_settings({"data_dir": "here"}, environment={}).data_dir == elsewhere / "here"


def test_load_settings_refuses_an_installation_without_the_project(tmp_path, monkeypatch):
    """A wheel holds the code alone: a run failed at its second stage, and doctor called the set-up good."""
    monkeypatch.setattr(config, "DBT_DIR", tmp_path / "site-packages" / "dbt")
    with pytest.raises(ConfigError, match=r"site-packages is no clone of this project"):
        load(tmp_path)


def test_load_settings_takes_an_empty_value_for_the_default(tmp_path):
    assert load(tmp_path, {"ANALYTICS_CONTENT": ""}).content == "redacted"


def test_load_settings_keeps_no_hook_events_whole_where_no_text_is_wanted(tmp_path):
    with pytest.raises(ConfigError, match="ANALYTICS_HOOK_FILES: archive keeps text"):
        load(tmp_path, {"ANALYTICS_CONTENT": "metadata", "ANALYTICS_HOOK_FILES": "archive"})


def test_load_settings_names_an_unknown_setting_and_its_neighbour(tmp_path):
    with pytest.raises(ConfigError, match=r"ANALYTICS_DATA_DRI is no setting. Did you mean ANALYTICS_DATA_DIR"):
        load(tmp_path, {"ANALYTICS_DATA_DRI": "x"})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("CONTENT", "everything"),
        ("TIMEZONE", "Mars/Olympus"),
        ("TIMEZONE", "../../etc/passwd"),
        ("WORKERS", "0"),
        ("WORKERS", "-1"),
        ("WORKERS", "2.5"),
        ("WORKERS", "\u0662"),
        ("RUN_INTERVAL_HOURS", "8761"),
        ("KEEP_VERSIONS", "2"),
        ("HOST_ID", "a/b"),
        ("HOST_ID", "x" * 65),
        ("HOOK_FILES", "keep"),
        ("MAX_LINE_MB", "lots"),
        ("MAX_LINE_MB", "513"),
        ("MAX_HOOK_MB", "513"),
        ("PRICES_FILE", "~nobody-of-this-name/prices.csv"),
        ("TRANSCRIPT_DIRS", "/a:~nobody-of-this-name/b"),
        ("PLAN_DIRS", "/a\0b"),
        ("CONVERSATION_GAP_MINUTES", "999999999999999"),
        ("METABASE_URL", "metabase:3000"),
    ],
)
def test_load_settings_names_the_setting_that_does_not_parse(tmp_path, name, value):
    with pytest.raises(ConfigError, match=f"^ANALYTICS_{name} "):
        load(tmp_path, {f"ANALYTICS_{name}": value})


@pytest.mark.parametrize("name", ["API_REQUESTS_URL", "METABASE_URL", "WEBHOOK_URL"])
@pytest.mark.parametrize(
    "url",
    [
        "http://a:b/",
        "http://a:99999/",
        "http://[::1/",
        "http://ä..b/",
        "http://:80/",
        "http://?a",
        "http://a/ b",
        "http://a/ä",
    ],
)
def test_load_settings_refuses_an_address_that_cannot_be_one(tmp_path, name, url):
    """It was a bug in the middle of a run."""
    with pytest.raises(ConfigError, match=f"^ANALYTICS_{name} "):
        load(tmp_path, {f"ANALYTICS_{name}": url})


@pytest.mark.parametrize("name", ["API_REQUESTS_URL", "METABASE_URL", "WEBHOOK_URL"])
@pytest.mark.parametrize("url", ["http://u:canary@a", "http://u:ca/nary@a", "https://canary@a:1/b"])
def test_load_settings_refuses_a_password_in_an_address_without_repeating_it(tmp_path, name, url):
    with pytest.raises(ConfigError, match=f"^ANALYTICS_{name} ") as caught:
        load(tmp_path, {f"ANALYTICS_{name}": url})
    assert "nary" not in str(caught.value)


@pytest.mark.parametrize(
    "url", ["http://[::1]:3000", "https://bücher.example/a%20b?c=@d", "http://metabase:3000/", "http://localhost?x#y"]
)
def test_load_settings_takes_an_address(tmp_path, url):
    assert load(tmp_path, {"ANALYTICS_METABASE_URL": url}).metabase_url == url


@pytest.mark.parametrize("below", ["", "deep/down"])
def test_load_settings_refuses_a_data_folder_where_a_file_is(tmp_path, below):
    """Each command said it in its own way, `prune` not at all."""
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match=f"^ANALYTICS_DATA_DIR: {file} is no folder"):
        load(tmp_path, {"ANALYTICS_DATA_DIR": str(file / below)})


@pytest.mark.parametrize("name", ["why?", "a\udcff"])
def test_load_settings_refuses_a_data_folder_that_duckdb_cannot_write_to(tmp_path, monkeypatch, name):
    """DuckDB puts the log of what it writes elsewhere where a name has a question mark."""
    monkeypatch.setattr(config, "PROJECT_DIR", tmp_path / name)
    with pytest.raises(ConfigError, match=r"^ANALYTICS_DATA_DIR: .* must be UTF-8 without"):
        load(tmp_path)


def test_load_settings_never_repeats_the_value_of_a_secret(tmp_path):
    secrets = [entry for entry in iter_settings() if entry.metadata["is_secret"]]
    for entry in secrets:
        try:
            load(tmp_path, {f"ANALYTICS_{entry.name.upper()}": "canary-value"})
        except ConfigError as error:
            assert "canary-value" not in str(error)  # noqa: PT017 - some take any text


def test_load_settings_finds_claude_code_by_its_own_variable(tmp_path):
    assert load(tmp_path, {"HOME": "/h"}).claude_dir == Path("/h/.claude")
    assert load(tmp_path, {"HOME": "/h", "CLAUDE_CONFIG_DIR": "/c"}).claude_dir == Path("/c")
    with pytest.raises(ConfigError, match=r"^CLAUDE_CONFIG_DIR "):
        load(tmp_path, {"CLAUDE_CONFIG_DIR": "~nobody-of-this-name"})


def test_load_settings_suggests_no_setting_that_is_not_near(tmp_path):
    with pytest.raises(ConfigError, match=r"ANALYTICS_FOO is no setting. See \.env\.example"):
        load(tmp_path, {"ANALYTICS_FOO": "x"})


def test_load_settings_splits_folders_and_expands_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", "/h")
    assert load(tmp_path, {"ANALYTICS_TRANSCRIPT_DIRS": "~/a:/b:"}).transcript_dirs == (Path("/h/a"), Path("/b"))


def test_read_dotenv_takes_comments_quotes_and_export(tmp_path):
    file = tmp_path / ".env"
    file.write_text("# note\n\nexport A=1\nB = 'two words'\nC=\"3\"\nD=a=b\n")
    assert read_dotenv(file) == {"A": "1", "B": "two words", "C": "3", "D": "a=b"}


def test_read_dotenv_takes_a_comment_after_a_value_and_a_byte_order_mark(tmp_path):
    file = tmp_path / ".env"
    lines = ["A=Europe/Berlin  # home", "B='a # b' # c", "C=a#b", "D= # nothing", 'E="it\'s"', 'F="']
    file.write_text("\n".join(lines), encoding="utf-8-sig")
    assert read_dotenv(file) == {"A": "Europe/Berlin", "B": "a # b", "C": "a#b", "D": "", "E": "it's", "F": '"'}


def test_read_dotenv_names_the_bad_line_without_its_text(tmp_path):
    file = tmp_path / ".env"
    file.write_text("A=1\ncanary secret\n")
    with pytest.raises(ConfigError, match="line 2") as caught:
        read_dotenv(file)
    assert "canary" not in str(caught.value)


def test_read_dotenv_says_so_when_the_file_is_no_text(tmp_path):
    file = tmp_path / ".env"
    file.write_bytes(b"A=\xff\n")
    with pytest.raises(ConfigError, match="cannot be read"):
        read_dotenv(file)


@pytest.mark.parametrize(("zone", "expected"), [(":Europe/Berlin", "Europe/Berlin"), ("Asia/Tokyo", "Asia/Tokyo")])
def test_machine_timezone_believes_tz_first(monkeypatch, zone, expected):
    monkeypatch.setenv("TZ", zone)
    assert machine_timezone() == expected


def test_machine_timezone_always_names_a_zone_there_is(monkeypatch):
    monkeypatch.setenv("TZ", "CET-1CEST")
    assert load_settings({"timezone": machine_timezone()}, environment={}, dotenv=Path("/nowhere")).timezone
