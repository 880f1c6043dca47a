"""What most of these tests work with."""

from __future__ import annotations

from pathlib import Path
from uuid import uuid4

import pytest

from libs.adapters.prefect import PrefectGateway
from libs.core.ids import WORK_POOL
from libs.db import Database
from tests.integration.bench import Bench, make_bench


@pytest.fixture
def bench(database: Database, gateway: PrefectGateway, tmp_path: Path) -> Bench:
    """Services over a new database of each dialect and the session's server."""
    gateway.ensure_work_pool(WORK_POOL, "process", None)
    return make_bench(database, gateway, tmp_path)


@pytest.fixture
def project() -> str:
    """A project of the test's own."""
    return f"p{uuid4().hex[:8]}"
