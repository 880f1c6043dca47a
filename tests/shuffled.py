"""Run the tests of each file in another order: what passes then depends on no order.

``TEST_ORDER=7`` before a command is one order, another number is another. Files stay where they
are, because the tests of a file share what is slow to start.
"""

from __future__ import annotations

import os
from random import Random

import pytest

VARIABLE = "TEST_ORDER"


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Shuffle within files, on every worker alike, if somebody asks."""
    seed = os.environ.get(VARIABLE)
    if not seed:
        return
    draw = Random(seed)
    files: dict[str, list[pytest.Item]] = {}
    for item in items:
        files.setdefault(item.nodeid.partition("::")[0], []).append(item)
    for tests in files.values():
        draw.shuffle(tests)
    items[:] = [item for tests in files.values() for item in tests]


def pytest_report_header() -> str | None:
    """Name the order, so that it can be repeated."""
    seed = os.environ.get(VARIABLE)
    return f"order: {VARIABLE}={seed}" if seed else None
