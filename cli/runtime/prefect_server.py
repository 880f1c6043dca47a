"""Prefect's own server, with cyclic garbage collected off its event loop.

``python -m cli.runtime.prefect_server`` is ``prefect server start``, for one reason: on SQLite the
server keeps its cursors in reference cycles. When CPython's collector happens to run on the event
loop's thread, freeing a cursor takes the mutex of its connection. If the thread of that connection
is waiting for SQLite's write lock, which some coroutine holds, then the event loop waits too, the
coroutine cannot go on, and the whole server stands still until SQLite's busy timeout, a minute.
In a thread of its own the collector may wait as long as it likes.
"""

from __future__ import annotations

import gc
import sys
import threading
import time

PAUSE_SECONDS = 1.0
"""Between two looks at how much garbage there may be."""

YOUNG_OBJECTS = 5_000
"""Allocations that make a collection of the young generations worth it."""

FULL_EVERY_SECONDS = 60.0
"""Between two collections of everything."""


def collect_in_a_thread() -> None:
    """Switch the automatic collector off and do its work in a daemon thread."""
    gc.disable()
    threading.Thread(target=_collect_for_ever, name="garbage-collector", daemon=True).start()


def _collect_for_ever() -> None:
    full_at = time.monotonic() + FULL_EVERY_SECONDS
    while True:
        time.sleep(PAUSE_SECONDS)
        if time.monotonic() >= full_at:
            gc.collect()
            full_at = time.monotonic() + FULL_EVERY_SECONDS
        elif gc.get_count()[0] >= YOUNG_OBJECTS:
            gc.collect(1)


def main() -> None:
    """Start the server in this process, which then does nothing else."""
    from prefect.cli import app

    collect_in_a_thread()
    sys.argv = ["prefect", "server", "start", *sys.argv[1:]]
    app()


if __name__ == "__main__":
    main()
