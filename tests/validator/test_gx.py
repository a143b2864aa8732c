"""The lean import of Great Expectations: what it leaves out, and that nothing of it stays behind."""

from __future__ import annotations

import subprocess
import sys

LOAD = """
import sys
from analytics.checks.gx import _STOOD_IN, _StandIn, load_gx
gx = load_gx()
print([name for name, module in sys.modules.items() if isinstance(module, _StandIn)])
print([name for name in _STOOD_IN if name in sys.modules])
from great_expectations.datasource.fluent.pandas_datasource import PandasDatasource
print(PandasDatasource.__fields__["type"].name, gx.Checkpoint.__name__)
"""


def test_what_is_left_out_of_the_import_can_still_be_had_afterwards() -> None:
    shown = subprocess.run([sys.executable, "-c", LOAD], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines() == ["[]", "[]", "type Checkpoint"]
