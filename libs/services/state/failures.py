"""Failures of single items, collected so that the rest of a batch continues."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_instances.libs.core.errors import Unavailable

_log = logging.getLogger("instances.failures")


class Failures:
    """Failures of one batch, one line each, in the order in which they happened."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str, error: Exception) -> None:
        """Record and log the failure of an item; ``what`` names the item for people."""
        text = str(error).strip() or type(error).__name__
        self.lines.append(f"{what}: {text.splitlines()[0]}")
        _log.warning("%s", self.lines[-1], exc_info=error)

    @contextmanager
    def item(self, what: str) -> Iterator[None]:
        """Record what the block raises; Unavailable passes, because it affects every item."""
        try:
            yield
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one item, the rest goes on
            self.note(what, error)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Record what the block raises, also Unavailable: other steps may need other services."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            self.note(what, error)
