"""The user's own price rows, in a file of the seed's shape (dbt/seeds/model_prices.csv): they win over the seed's."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping, Sequence
from datetime import date
from decimal import Decimal, InvalidOperation
from pathlib import Path

from analytics.errors import ConfigError, reason_of

_MAX_PRICE = 1_000_000  # dollars per million tokens, which is a dollar a token
_SPEEDS = ("standard", "fast")


def read_prices(file: Path) -> list[dict[str, str | None]]:
    """The rows of the file as texts that SQL can cast; an empty field is None.

    Columns are known by their names, in any order. Raises ConfigError, which names the line and the column, for a
    file that is no CSV of these columns or has a value that is no price, date or number of tokens.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as opened:
            reader = csv.DictReader(opened, strict=True)
            _check_header(file, reader.fieldnames or ())
            return [_read_row(file, reader.line_num, row) for row in reader]
    except OSError as error:
        raise _refusal(file, f"cannot be read: {reason_of(error)}") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise _refusal(file, "is no CSV") from error


def _check_header(file: Path, names: Sequence[str]) -> None:
    if sorted(names) != sorted(PRICE_COLUMNS):
        raise _refusal(file, f"must have the columns {', '.join(PRICE_COLUMNS)}, each once")


def _read_row(file: Path, line: int, row: dict[str, str | None]) -> dict[str, str | None]:
    if None in row or None in row.values():
        raise _refusal(file, f"line {line} has not as many fields as the header")
    texts = {name: (value or "").strip() for name, value in row.items()}
    for name, is_valid in PRICE_COLUMNS.items():
        if not is_valid(texts[name]):
            raise _refusal(file, f"line {line}: {name} cannot be {texts[name]!r}")
    return {name: text or None for name, text in texts.items()}


def _refusal(file: Path, reason: str) -> ConfigError:
    return ConfigError(f"ANALYTICS_PRICES_FILE: {file} {reason}. dbt/seeds/model_prices.csv shows the form.")


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


# What each column of a price row must be.
PRICE_COLUMNS: Mapping[str, Callable[[str], bool]] = {
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
}
