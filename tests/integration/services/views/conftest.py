"""These tests are about reports: their instances have rows, but no deployments and blocks."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.integration.bench import provisioning_without_prefect


@pytest.fixture(autouse=True)
def nothing_is_made_in_prefect() -> Iterator[None]:
    with provisioning_without_prefect():
        yield
