"""A user's own rows of a seed, in a CSV file of the seed's shape: they win over the seed's."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path

from analytics.config import PROJECT_DIR, Settings
from analytics.errors import ConfigError, reason_of

SEEDS_DIR = PROJECT_DIR / "dbt" / "seeds"
_MAX_PRICE = 1_000_000  # dollars per million tokens, which is a dollar a token
_SPEEDS = ("standard", "fast")
_SEVERITIES = ("low", "medium", "high", "critical")


@dataclass(frozen=True)
class Override:
    """A seed, the setting that names the user's file, the table of schema `raw`, and what each column must be."""

    seed: str
    setting: str
    table: str
    columns: Mapping[str, Callable[[str], bool]]

    def file(self, settings: Settings) -> Path | None:
        """The user's file, if one is set."""
        named: Path | None = getattr(settings, self.setting)
        return named

    def refusal(self, file: Path, reason: str) -> ConfigError:
        """Why a file cannot be used."""
        name = f"ANALYTICS_{self.setting.upper()}"
        return ConfigError(f"{name}: {file} {reason}. dbt/seeds/{self.seed}.csv shows the form.")


def read_override(override: Override, file: Path) -> list[dict[str, str | None]]:
    """The rows of the file as texts that SQL can cast; an empty field is None.

    Columns are known by their names, in any order. Raises ConfigError, which names the line and the column, for a
    file that is no CSV of these columns or has a value that the column cannot have.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(override, file, reader.fieldnames or ())
            return [_read_row(override, file, reader.line_num, row) for row in reader]
    except OSError as error:
        raise override.refusal(file, f"cannot be read: {reason_of(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise override.refusal(file, "is no CSV") from error


def _check_header(override: Override, file: Path, names: Sequence[str]) -> None:
    if sorted(names) != sorted(override.columns):
        raise override.refusal(file, f"must have the columns {', '.join(override.columns)}, each once")


def _read_row(override: Override, file: Path, line: int, row: dict[str, str | None]) -> dict[str, str | None]:
    if None in row or None in row.values():
        raise override.refusal(file, f"line {line} has not as many fields as the header")
    texts = {name: (value or "").strip() for name, value in row.items()}
    for name, is_valid in override.columns.items():
        if not is_valid(texts[name]):
            raise override.refusal(file, f"line {line}: {name} cannot be {texts[name]!r}")
    return {name: text or None for name, text in texts.items()}


def _is_any(_: str) -> bool:
    return True


def _is_price(text: str) -> bool:
    try:
        return 0 <= Decimal(text) < _MAX_PRICE
    except InvalidOperation:
        return False


def _is_date(text: str) -> bool:
    try:
        return len(text) == 10 and bool(date.fromisoformat(text))
    except ValueError:
        return False


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False


@lru_cache(maxsize=1)
def _alert_names() -> frozenset[str]:
    with (SEEDS_DIR / "alert_thresholds.csv").open(encoding="utf-8", newline="") as opened:
        return frozenset(row["alert_name"] for row in csv.DictReader(opened))


MODEL_PRICES = Override(
    seed="model_prices",
    setting="prices_file",
    table="model_price_overrides",
    columns={
        "model_prefix": bool,
        "family": _is_any,
        "speed": _SPEEDS.__contains__,
        "prompt_tokens_from": lambda text: text.isascii() and text.isdigit() and len(text) < 16,
        "valid_from": _is_date,
        "valid_to": lambda text: not text or _is_date(text),
        "input": _is_price,
        "output": _is_price,
        "cache_write_5m": _is_price,
        "cache_write_1h": _is_price,
        "cache_read": _is_price,
        "us_geo_multiplier": lambda text: not text or _is_price(text),
        "confidence": _is_any,
        "source": _is_any,
        "note": _is_any,
    },
)
ALERT_THRESHOLDS = Override(
    seed="alert_thresholds",
    setting="alert_thresholds_file",
    table="alert_threshold_overrides",
    columns={
        "alert_name": lambda text: text in _alert_names(),
        "threshold_value": _is_number,
        "severity": _SEVERITIES.__contains__,
    },
)
OVERRIDES = (MODEL_PRICES, ALERT_THRESHOLDS)
