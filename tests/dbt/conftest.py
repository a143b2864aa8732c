from __future__ import annotations

import pytest

from tests.dbt.warehouse import Warehouse


@pytest.fixture(scope="session")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """Shared by a session, because dbt parses the project only once; each test starts with reset()."""
    return Warehouse(tmp_path_factory.mktemp("dbt"))
