"""How long a test waits for what other processes do."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

import pytest

SLOWEST = 3.0
"""Limits are for an idle machine. The default suite took 2.8 times as long on a slow one."""

Found = TypeVar("Found")


def eventually(
    look: Callable[[], Found],
    seconds: float = 60.0,
    what: str = "",
    pause: float = 0.1,
    slowest: float = SLOWEST,
) -> Found:
    """The first truthy answer of ``look``; fails the test if there is none in time.

    ``slowest=1`` is for a limit that something else, which is slower, must not keep.
    """
    limit = seconds * slowest
    until = time.monotonic() + limit
    while not (found := look()):
        if time.monotonic() > until:
            pytest.fail(f"not within {limit:.0f} s: {what}; last seen: {found!r}")
        time.sleep(pause)
    return found
