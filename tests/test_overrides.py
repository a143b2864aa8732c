"""What a file of a user's own rows may hold: a wrong one is refused, never priced or measured with."""

from __future__ import annotations

import pytest

from analytics.errors import ConfigError
from analytics.overrides import ALERT_THRESHOLDS, MODEL_PRICES, OVERRIDES, SEEDS_DIR, read_override

COLUMNS = tuple(MODEL_PRICES.columns)
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


def write(path, row=None, names=COLUMNS):
    row = row or ROW
    path.write_text(",".join(names) + "\n" + ",".join(row.get(name, "") for name in names) + "\n")
    return path


@pytest.mark.parametrize("override", OVERRIDES, ids=lambda override: override.seed)
def test_the_seed_is_such_a_file(override):
    assert len(read_override(override, SEEDS_DIR / f"{override.seed}.csv")) > 5


@pytest.mark.parametrize(
    ("column", "row"),
    [
        ("alert_name", "alert_of_nobody,1,low"),
        ("threshold_value", "alert_daily_cost_above_budget,nan,low"),
        ("severity", "alert_daily_cost_above_budget,1,urgent"),
    ],
)
def test_a_threshold_that_could_never_fire_is_refused(tmp_path, column, row):
    file = tmp_path / "thresholds.csv"
    file.write_text(f"alert_name,threshold_value,severity\n{row}\n")
    with pytest.raises(ConfigError, match=rf"ANALYTICS_ALERT_THRESHOLDS_FILE: .* line 2: {column} "):
        read_override(ALERT_THRESHOLDS, file)


def test_columns_are_known_by_name_in_any_order(tmp_path):
    """They were taken by position: two that had changed places priced everything wrong."""
    names = sorted(COLUMNS)
    (row,) = read_override(MODEL_PRICES, write(tmp_path / "prices.csv", names=names))
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
        read_override(MODEL_PRICES, write(tmp_path / "prices.csv", ROW | {column: value}))


@pytest.mark.parametrize(
    "content",
    [b"", b"a,b\n", b"model,price\nx,1,2,3\n", b"\xff\xfe\x00", b'"model_prefix\n', "doubled", "short", "long"],
)
def test_a_file_of_another_shape_is_refused(tmp_path, content):
    header = ",".join(COLUMNS)
    contents = {"doubled": f"{header},note\n", "short": f"{header}\nmy-model\n", "long": f"{header}\n{',' * 20}\n"}
    file = tmp_path / "prices.csv"
    file.write_bytes(contents[content].encode() if isinstance(content, str) else content)
    with pytest.raises(ConfigError, match="ANALYTICS_PRICES_FILE"):
        read_override(MODEL_PRICES, file)


def test_a_file_of_a_spreadsheet_is_read(tmp_path):
    file = write(tmp_path / "prices.csv")
    file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n"))
    assert len(read_override(MODEL_PRICES, file)) == 1
