"""What a file of the user's own prices may hold: a wrong one is refused, never priced with."""

from __future__ import annotations

from pathlib import Path

import pytest

from analytics.errors import ConfigError
from analytics.prices import PRICE_COLUMNS, read_prices

SEED = Path(__file__).parents[1] / "dbt" / "seeds" / "model_prices.csv"
ROW = {
    "model_prefix": "my-model",
    "family": "mine",
    "speed": "standard",
    "prompt_tokens_from": "0",
    "valid_from": "2026-01-01",
    "valid_to": "",
    "input": "1",
    "output": "5.5",
    "cache_write_5m": "1.25",
    "cache_write_1h": "2",
    "cache_read": "0.1",
    "us_geo_multiplier": "1.1",
    "confidence": "published",
    "source": "",
    "note": "",
}


def write(path, row=None, names=tuple(PRICE_COLUMNS)):
    row = row or ROW
    path.write_text(",".join(names) + "\n" + ",".join(row.get(name, "") for name in names) + "\n")
    return path


def test_the_seed_is_such_a_file():
    assert len(read_prices(SEED)) > 30


def test_columns_are_known_by_name_in_any_order(tmp_path):
    """They were taken by position: two that had changed places priced everything wrong. Found by review."""
    names = sorted(PRICE_COLUMNS)
    (row,) = read_prices(write(tmp_path / "prices.csv", names=names))
    assert row == {name: value or None for name, value in ROW.items()}


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("model_prefix", ""),
        ("speed", "quick"),
        ("prompt_tokens_from", "-1"),
        ("prompt_tokens_from", ""),
        ("valid_from", "yesterday"),
        ("valid_from", ""),
        ("valid_to", "2026-13-01"),
        ("input", "abc"),
        ("input", ""),
        ("output", "-5"),
        ("cache_read", "nan"),
        ("cache_write_1h", "inf"),
        ("us_geo_multiplier", "x"),
    ],
)
def test_a_value_that_is_no_price_is_refused_with_its_line_and_column(tmp_path, column, value):
    with pytest.raises(ConfigError, match=rf"ANALYTICS_PRICES_FILE: .* line 2: {column} "):
        read_prices(write(tmp_path / "prices.csv", ROW | {column: value}))


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n", b"model,price\nx,1,2,3\n", b"\xff\xfe\x00", b'"model_prefix\n', "doubled", "short", "long"],
)
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    header = ",".join(PRICE_COLUMNS)
    contents = {"doubled": f"{header},note\n", "short": f"{header}\nmy-model\n", "long": f"{header}\n{',' * 20}\n"}
    file = tmp_path / "prices.csv"
    file.write_bytes(contents[content].encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match="ANALYTICS_PRICES_FILE"):
        read_prices(file)


def test_a_file_of_a_spreadsheet_is_read(tmp_path):
    file = write(tmp_path / "prices.csv")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_prices(file)) == 1
