"""Prefect's own server, with changes for SQLite under load and for a faster start of runs.

``python -m prefect_instances.libs.adapters.prefect.server`` is ``prefect server start``, and with
the words ``services start`` it is ``prefect server services start``. There are six differences, of
which the first two matter on SQLite only:

*Garbage is collected off the event loop.* The server keeps its cursors in reference cycles. When
CPython's collector happens to run on the event loop's thread, freeing a cursor takes the mutex of
its connection. If the thread of that connection is waiting for SQLite's write lock, which some
coroutine holds, then the event loop waits too, the coroutine cannot go on, and the whole server
stands still until SQLite's busy timeout, a minute. In a thread of its own the collector may wait.

*Transactions take the write lock when they begin.* Prefect begins most of them as readers. One that
reads, then writes, fails at once if another committed in between; its client gets a 503 and
tries again seconds later. One that begins as a writer waits its turn, milliseconds.

*The application is looked up once.* Each action of an automation makes a client of the server
itself, for which Prefect writes out all its settings twice and sets up logging again: 100 ms or
more, in which the event loop does nothing else, between a gate that opens and the run it starts.

*A JSON schema is checked once.* To create a run Prefect validates its job variables and checks,
twice, that the work pool's schema is one: 50 ms for an answer that is always the same.

*Pictures of our block types are served*, so that they show without internet.

*A run that a schedule, an automation or the pages create says whose it is*: instance, flow kind and
cause. Prefect invents a name, and the run itself can change that only when it starts.

All but the first are patches of ``libs.adapters.prefect.patches``.
"""

from __future__ import annotations

import gc
import sys
import threading
import time

PAUSE_SECONDS = 1.0
"""Seconds between two checks of the amount of garbage."""

YOUNG_OBJECTS = 5_000
"""Number of allocations that triggers a collection of the young generations."""

FULL_EVERY_SECONDS = 60.0
"""Seconds between two full collections."""


def collect_in_a_thread() -> None:
    """Switch the automatic collector off and collect in a daemon thread instead."""
    gc.disable()
    threading.Thread(target=_collect_for_ever, name="garbage-collector", daemon=True).start()


def _collect_for_ever() -> None:
    full_at = time.monotonic() + FULL_EVERY_SECONDS
    while True:
        time.sleep(PAUSE_SECONDS)
        if time.monotonic() >= full_at:
            gc.collect()
            if not gc.get_freeze_count():
                gc.freeze()  # Survivors are permanent: later collections skip them.
            full_at = time.monotonic() + FULL_EVERY_SECONDS
        elif gc.get_count()[0] >= YOUNG_OBJECTS:
            gc.collect(1)


def main() -> None:
    """Run the server in this process."""
    gc.disable()  # Imports make no garbage, and looking for it takes a tenth of their time.
    from prefect.cli import app

    from prefect_instances.libs.adapters.prefect.patches import SERVER_PATCHES, apply_patches

    apply_patches(SERVER_PATCHES)
    collect_in_a_thread()
    words = sys.argv[1:]
    sys.argv = ["prefect", "server", *([] if words[:1] == ["services"] else ["start"]), *words]
    app()


if __name__ == "__main__":
    main()
