"""How long a test waits for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

SLOWEST = 4.0
"""A busy machine may be so much slower than an idle one, for which all limits are written."""

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found], seconds: float = 60.0, what: str = "", pause: float = 0.1
) -> Found:
    """The first truthy answer of ``look``; fails the test if there is none in time."""
    limit = seconds * SLOWEST
    until = time.monotonic() + limit
    while not (found := look()):
        if time.monotonic() > until:
            pytest.fail(f"not within {limit:.0f} s: {what}; last seen: {found!r}")
        time.sleep(pause)
    return found
