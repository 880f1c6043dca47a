"""What goes wrong with single items of a batch is noted, and the rest of the batch goes on."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from prefect_instances.libs.core.errors import Unavailable

_log = logging.getLogger("instances.failures")


class Failures:
    """The failures of one batch, a line each, in the order in which they happened."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def note(self, what: str, error: Exception) -> None:
        """Keep and log the failure of an item; ``what`` names the item for people."""
        text = str(error).strip() or type(error).__name__
        self.lines.append(f"{what}: {text.splitlines()[0]}")
        _log.warning("%s", self.lines[-1], exc_info=error)

    @contextmanager
    def item(self, what: str) -> Iterator[None]:
        """Note what the block raises; Unavailable passes, because every other item meets it too."""
        try:
            yield
        except Unavailable:
            raise
        except Exception as error:  # noqa: BLE001 - whatever is wrong with one item, the rest goes on
            self.note(what, error)

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Note what the block raises, Unavailable too: other steps may need other services."""
        try:
            yield
        except Exception as error:  # noqa: BLE001 - as above
            self.note(what, error)
