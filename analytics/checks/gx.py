"""The import of Great Expectations, without what these checks never use.

Half of its three seconds and of its memory go to scipy and altair, which serve one expectation (KL
divergence) that no suite here may use, and a tenth to the data sources of pandas and Spark. All are stood in
for while it is imported, and only then: afterwards `import scipy` gives the real thing. If a later version needs
them, the plain import is used.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import os
import sys
import types
import warnings
from collections.abc import Iterator
from typing import Any

from analytics import telemetry

_NAME = "great_expectations"
_DATASOURCES = f"{_NAME}.datasource.fluent"
_STOOD_IN = (
    *("altair", "scipy", "scipy.stats", "scipy.special", f"{_DATASOURCES}.fabric"),
    *(
        f"{_DATASOURCES}.{engine}{place}_datasource"
        for engine in ("pandas", "spark")
        for place in ("", "_file_path", "_filesystem", "_dbfs", "_s3", "_google_cloud_storage", "_azure_blob_storage")
    ),
)


class _StandIn(types.ModuleType):
    """A module whose every attribute is an empty class: enough for annotations and `from x import y`."""

    __path__: list[str]

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return type(name, (), {})


def load_gx() -> Any:
    """The module `great_expectations`, its telemetry and progress bars off."""
    telemetry.switch_off()
    os.environ["TQDM_DISABLE"] = "1"
    if _NAME in sys.modules:
        return sys.modules[_NAME]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            with _stand_ins():
                gx = importlib.import_module(_NAME)
        except (ImportError, AttributeError, TypeError):
            for name in [name for name in sys.modules if name.partition(".")[0] == _NAME]:
                del sys.modules[name]
            gx = importlib.import_module(_NAME)
    # Its warnings repeat the SQL and values of a failing check; what matters is in the result.
    logging.getLogger(_NAME).setLevel(logging.CRITICAL)
    return gx


@contextlib.contextmanager
def _stand_ins() -> Iterator[None]:
    standing_in = {}
    for name in _STOOD_IN:
        if name not in sys.modules:
            standing_in[name] = sys.modules[name] = _StandIn(name)
            standing_in[name].__path__ = []
    try:
        yield
    finally:
        for name, module in standing_in.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Run without its warnings of deprecation and without the advice that it prints to stdout."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
