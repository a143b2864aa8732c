"""Settings, and the only place that reads the environment.

A setting is one field of `Settings`; its environment variable is `ANALYTICS_<FIELD>`. Values come, in
order, from the command line, the environment, the project folder's `.env` file, and the default. Neither that file
nor a relative path in it depends on where a command is started.
"""

from __future__ import annotations

import dataclasses
import difflib
import os
import re
import stat
import zoneinfo
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from analytics.errors import ConfigError

PREFIX = "ANALYTICS_"
PROJECT_DIR = Path(__file__).resolve().parent.parent
DBT_DIR = PROJECT_DIR / "dbt"
PREPARED_DIR = PROJECT_DIR / ".prepared"  # what is made once for all data folders (analytics/warm_up.py)
LARGEST_TEXT_MB = 512  # Arrow's texts hold two gigabytes, and redaction may make of one almost four times as much
LARGEST_NUMBER = 999_999_999  # in minutes, also as milliseconds, it is a number of every engine

ContentPolicy = Literal["full", "redacted", "metadata"]


def _parse_path(text: str) -> Path:
    if "\0" in text:
        raise ValueError("is no path")
    try:
        return Path(text).expanduser()
    except RuntimeError as error:
        raise ValueError("begins with the home folder of an unknown user") from error


def _parse_paths(text: str) -> tuple[Path, ...]:
    return tuple(_parse_path(part) for part in text.split(os.pathsep) if part)


def _parse_optional_path(text: str) -> Path | None:
    return _parse_path(text) if text else None


def _parse_timezone(text: str) -> str:
    try:
        zoneinfo.ZoneInfo(text)
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise ValueError("is no IANA time zone such as Europe/Berlin") from error
    return text


def _parse_choice(*choices: str) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text not in choices:
            raise ValueError(f"must be one of {', '.join(choices)}")
        return text

    return parse


def _parse_int(minimum: int, maximum: int = LARGEST_NUMBER) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if not re.fullmatch(r"[0-9]{1,15}", text) or not minimum <= int(text) <= maximum:
            raise ValueError(f"must be a whole number from {minimum} to {maximum}")
        return int(text)

    return parse


def _parse_keep_days(text: str) -> tuple[tuple[str, int], ...]:
    keeps: dict[str, int] = {}
    for part in text.split(","):
        found = re.fullmatch(r"\s*(?:([a-z_]+)\s*=\s*)?([1-9][0-9]{0,5})\s*", part)
        if not found or (found[1] or "") in keeps:
            raise ValueError("must be a number of days, dataset=days, or several of these separated by commas")
        keeps[found[1] or ""] = int(found[2])
    return tuple(keeps.items())


def _parse_host_id(text: str) -> str:
    if text and not re.fullmatch(r"[A-Za-z0-9_-]{1,64}", text):
        raise ValueError("may hold letters, digits, - and _ only, at most 64")
    return text


def _parse_mongo_uri(text: str) -> str:
    if not re.match(r"mongodb(\+srv)?://.", text):
        raise ValueError("must begin with mongodb:// or mongodb+srv://")
    return text


def _parse_mongo_name(text: str) -> str:
    if not re.fullmatch(r"[^\0$\s/\\\"]{1,120}", text):
        raise ValueError("is no name of a MongoDB database or collection")
    return text


def _parse_url(text: str) -> str:
    if not re.fullmatch(r"https?://[^\s/?#@]+([/?#][!-~]*)?", text):
        raise ValueError("must begin with http:// or https://, hold no password and be percent-encoded")
    try:
        split = urlsplit(text)
        is_address = split.port != 0 and (split.hostname or "").encode("idna")
    except ValueError:
        is_address = False
    if not is_address:
        raise ValueError("names no host and port that there can be")
    return text


def machine_timezone() -> str:
    """IANA name of the machine's time zone; UTC where the machine does not tell one."""
    named = os.environ.get("TZ", "").lstrip(":")
    candidates = [named]
    for source in (Path("/etc/timezone"), Path("/etc/localtime")):
        try:
            text = str(source.resolve()) if source.name == "localtime" else source.read_text(encoding="utf-8")
        except OSError:
            continue
        candidates.append(text.strip().rpartition("zoneinfo/")[2])
    for candidate in candidates:
        try:
            if candidate:
                return _parse_timezone(candidate)
        except ValueError:
            continue
    return "UTC"


def _setting(default: Any, parse: Callable[[str], Any], meaning: str, *, is_secret: bool = False) -> Any:
    metadata = {"parse": parse, "meaning": meaning, "is_secret": is_secret}
    if callable(default):
        return field(default_factory=default, metadata=metadata, repr=not is_secret)
    return field(default=default, metadata=metadata, repr=not is_secret)


@dataclass(frozen=True)
class Settings:
    """Every setting of the pipeline, parsed and checked."""

    data_dir: Path = _setting(
        lambda: PROJECT_DIR / "data",
        _parse_path,
        "Folder that holds the lake, the warehouse and the marts; empty takes the project's data/",
    )
    transcript_dirs: tuple[Path, ...] = _setting(
        (), _parse_paths, "Folders of transcripts, separated by ':'; empty finds Claude Code's own"
    )
    timezone: str = _setting(machine_timezone, _parse_timezone, "Reporting time zone of local days and hours")
    content: ContentPolicy = _setting(
        "redacted",
        _parse_choice("full", "redacted", "metadata"),
        "What of the content is kept: full, redacted, metadata",
    )
    host_id: str = _setting("", _parse_host_id, "Name of this machine in the lake; empty takes a salted hash")
    secret_rules_file: Path | None = _setting(
        None, _parse_optional_path, "TOML file of further redaction rules, shaped like analytics/secret_rules.toml"
    )
    prices_file: Path | None = _setting(
        None, _parse_optional_path, "CSV file of price rows that override dbt/seeds/model_prices.csv"
    )
    alert_thresholds_file: Path | None = _setting(
        None, _parse_optional_path, "CSV file of thresholds that override dbt/seeds/alert_thresholds.csv"
    )
    workers: int = _setting(lambda: os.cpu_count() or 1, _parse_int(1), "Processes that extract")
    max_line_mb: int = _setting(
        256, _parse_int(1, LARGEST_TEXT_MB), f"Largest transcript line that is read, in MB, up to {LARGEST_TEXT_MB}"
    )
    conversation_gap_minutes: int = _setting(
        240, _parse_int(1), "Idle minutes after which a session's next prompt starts a new conversation"
    )
    hook_files: Literal["delete", "archive"] = _setting(
        "delete", _parse_choice("delete", "archive"), "Queue files after their commit: delete, or archive as captured"
    )
    hook_retry_limit: int = _setting(3, _parse_int(0), "Runs that try again a queue file that cannot be read now")
    max_hook_mb: int = _setting(
        64,
        _parse_int(1, LARGEST_TEXT_MB),
        f"Largest hook payload that is read from the queue, in MB, up to {LARGEST_TEXT_MB}",
    )
    validate: Literal["auto", "always", "never"] = _setting(
        "auto",
        _parse_choice("auto", "always", "never"),
        "When Great Expectations audits `analytics run`: auto leaves small increments to the dbt tests",
    )
    mongo_uri: str = _setting(
        "", _parse_mongo_uri, "MongoDB that a sync service fills, mongodb://...; empty leaves it out", is_secret=True
    )
    mongo_database: str = _setting("claude_logs", _parse_mongo_name, "Database of the conversations")
    mongo_collection: str = _setting("conversations", _parse_mongo_name, "Collection of the conversations")
    mongo_overlap_s: int = _setting(
        600, _parse_int(0), "Seconds before the last run that are looked at again, for documents that came late"
    )
    mongo_batch_size: int = _setting(1_000, _parse_int(1), "Documents that the MongoDB server sends at once")
    webhook_url: str = _setting(
        "",
        _parse_url,
        "Address that is told of alerts and of failed scheduled runs (no content); empty tells nobody",
        is_secret=True,
    )
    plan_dirs: tuple[Path, ...] = _setting(
        (), _parse_paths, "Folders whose projects' plans are read, separated by ':', beside those that transcripts name"
    )
    api_requests_dir: Path | None = _setting(
        None, _parse_optional_path, "Folder of API request events as JSON lines, as a proxy writes them"
    )
    api_requests_url: str = _setting(
        "", _parse_url, "Live stream of API request events, http://.../api/sse/analytics; empty leaves it out"
    )
    api_requests_seconds: int = _setting(5, _parse_int(1), "Seconds that each run listens to that stream")
    keep_days: tuple[tuple[str, int], ...] = _setting(
        (),
        _parse_keep_days,
        "Days of history that `analytics prune` leaves: 730, or conversations=365,hook_events=90; empty for all",
    )
    keep_versions: int = _setting(3, _parse_int(3), "Published versions that are kept")
    run_interval_hours: int = _setting(
        1, _parse_int(1, 8_760), "Hours between scheduled runs; doctor compares clean-ups with it"
    )
    metabase_url: str = _setting(
        "", _parse_url, "Address of the Metabase that is filled with the dashboards; empty for none"
    )
    metabase_user: str = _setting("admin@example.com", str, "E-mail address of Metabase's admin, made at the first run")
    metabase_password: str = _setting("", str, "Password of Metabase's admin", is_secret=True)
    metabase_database_file: str = _setting(
        "/published/marts.duckdb", str, "Where Metabase itself finds data/published/marts.duckdb"
    )
    home_dir: Path = field(default_factory=Path.home)
    claude_config_dir: Path | None = None

    @property
    def warehouse_file(self) -> Path:
        """The pipeline's private DuckDB file: disposable, rebuilt from the lake."""
        return self.data_dir / "warehouse.duckdb"

    @property
    def published_dir(self) -> Path:
        """What readers open."""
        return self.data_dir / "published"

    @property
    def claude_dir(self) -> Path:
        """Claude Code's own folder: CLAUDE_CONFIG_DIR or ~/.claude."""
        return self.claude_config_dir or self.home_dir / ".claude"


def environment_name(setting: str) -> str:
    """The environment variable of a setting."""
    return PREFIX + setting.upper()


def iter_settings() -> list[dataclasses.Field[Any]]:
    """The fields that a user may set, in the order of the documentation."""
    return [entry for entry in dataclasses.fields(Settings) if "parse" in entry.metadata]


def read_dotenv(path: Path) -> dict[str, str]:
    """The assignments of a .env file: `NAME=value` a line, `#` comments, optional quotes and `export`.

    A `#` after a blank begins a comment, unless it is in quotes.
    A missing file is empty; a line of another form raises ConfigError with its number, never its text.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f".env: {path} cannot be read. Mend or remove it.") from error
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        match = re.fullmatch(r"(?:export\s+)?([A-Za-z_][A-Za-z0-9_]*)\s*=(.*)", stripped)
        if not match:
            raise ConfigError(f".env: line {number} of {path} is not NAME=value.")
        quoted = re.fullmatch(r"""\s*(['"])(.*?)\1(?:\s+#.*)?""", match[2])
        values[match[1]] = quoted[2] if quoted else re.split(r"\s#", match[2], maxsplit=1)[0].strip()
    return values


def find_exposed_dotenv() -> tuple[Path, str] | None:
    """The project folder's .env file and a secret setting in it, where others than its owner can read them."""
    path = PROJECT_DIR / ".env"
    assigned = read_dotenv(path)
    names = (environment_name(entry.name) for entry in iter_settings() if entry.metadata["is_secret"])
    secret = next((name for name in names if assigned.get(name)), None)
    if secret is None or not path.stat().st_mode & (stat.S_IRGRP | stat.S_IROTH):
        return None
    return path, secret


def _anchor(value: Any, folder: Path) -> Any:
    """A value whose relative paths begin at a folder; what is no path comes back as it is."""
    if isinstance(value, tuple):
        return tuple(_anchor(entry, folder) for entry in value)
    return folder / value if isinstance(value, Path) else value


def load_settings(
    overrides: Mapping[str, str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    dotenv: Path | None = None,
) -> Settings:
    """The settings in force.

    Args:
        overrides: Values from the command line, by field name; they win.
        environment: Stands in for the process environment.
        dotenv: The .env file; the project folder's by default. Relative paths in it begin where it lies.

    Raises:
        ConfigError: this is no clone of the project, a variable with our prefix is unknown, a value does not parse or
            contradicts another, or no data folder can be where it is to be. The message names the variable and never
            repeats a secret.
    """
    if not (DBT_DIR / "dbt_project.yml").exists():
        raise ConfigError(f"{DBT_DIR.parent} is no clone of this project. Run it from one: a wheel lacks dbt/.")
    variables = dict(os.environ if environment is None else environment)
    dotenv = dotenv or PROJECT_DIR / ".env"
    merged = {**read_dotenv(dotenv), **variables}
    known = {environment_name(entry.name): entry for entry in iter_settings()}
    for name in merged:
        if name.startswith(PREFIX) and name not in known:
            # Without what they all begin with, or each would be like every other.
            close = difflib.get_close_matches(name.removeprefix(PREFIX), [n.removeprefix(PREFIX) for n in known], n=1)
            hint = f" Did you mean {PREFIX}{close[0]}?" if close else " See .env.example for those there are."
            raise ConfigError(f"{name} is no setting.{hint}")
    values: dict[str, Any] = {}
    for name, entry in known.items():
        text = (overrides or {}).get(entry.name, merged.get(name, ""))
        if text == "":
            continue
        values[entry.name] = _parse(name, text, entry.metadata["parse"], is_secret=entry.metadata["is_secret"])
        is_of_dotenv = entry.name not in (overrides or {}) and name not in variables
        values[entry.name] = _anchor(values[entry.name], dotenv.absolute().parent if is_of_dotenv else Path.cwd())
    if home := variables.get("HOME"):
        values["home_dir"] = Path(home)
    if config_dir := merged.get("CLAUDE_CONFIG_DIR"):
        values["claude_config_dir"] = _parse("CLAUDE_CONFIG_DIR", config_dir, _parse_path)
    settings = Settings(**values)
    _check_data_dir(settings.data_dir)
    if (settings.content, settings.hook_files) == ("metadata", "archive"):
        raise ConfigError("ANALYTICS_HOOK_FILES: archive keeps text, and ANALYTICS_CONTENT=metadata none. Set delete.")
    return settings


def _parse(name: str, text: str, parse: Callable[[str], Any], *, is_secret: bool = False) -> Any:
    try:
        return parse(text)
    except ValueError as error:
        shown = "" if is_secret or re.search("://.*@", text) else f" (it is {text!r})"
        raise ConfigError(f"{name} {error}{shown}.") from error


def _check_data_dir(folder: Path) -> None:
    if re.search("[?\ud800-\udfff]", str(folder)):
        raise ConfigError(f"ANALYTICS_DATA_DIR: {folder} must be UTF-8 without '?', or DuckDB cannot write there.")
    with suppress(OSError):  # what cannot be looked into is told by who needs it
        there = next(path for path in (folder, *folder.parents) if path.exists())
        if not there.is_dir():
            raise ConfigError(f"ANALYTICS_DATA_DIR: {there} is no folder. Set it to another path.")
