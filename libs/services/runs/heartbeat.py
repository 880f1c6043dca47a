"""The heartbeat of a run: it extends the run's lease while the run is in progress."""

from __future__ import annotations

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from uuid import UUID

from prefect_instances.libs.core.errors import Unavailable
from prefect_instances.libs.core.pairing import seconds_to_next_beat
from prefect_instances.libs.services.state.context import Services

_log = logging.getLogger("instances.heartbeat")


@contextmanager
def heartbeat(services: Services, run_id: UUID) -> Iterator[None]:
    """Extend the lease of a run in a background thread during the block."""
    stop = threading.Event()
    thread = threading.Thread(
        target=_beat, args=(services, run_id, stop), name=f"heartbeat-{run_id}", daemon=True
    )
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def _beat(services: Services, run_id: UUID, stop: threading.Event) -> None:
    usual, written = services.settings.heartbeat_seconds, True
    while not stop.wait(seconds_to_next_beat(usual, written=written)):
        written = False
        try:
            if not services.ledger.extend_lease(run_id):
                _log.warning("this run has lost its claim; its output will not be published")
                return
            written = True
            services.live.kick()
        except Unavailable as error:
            _log.warning("the heartbeat could not be written: %s", error)
