"""Suspension of a running flow: its worker tells it with a signal.

Prefect has each run keep a connection to the event stream and read its own state, to notice that a
person suspended it. The worker follows the same events for all its runs, so it signals the one.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

SIGNAL = signal.SIGUSR1
"""Sent to the process of a run whose state became Suspended."""

_received: list[int] = []


def listen() -> None:
    """Note the signal instead of ending the process; called once in the child of a run."""
    _received.clear()
    signal.signal(SIGNAL, lambda number, _: _received.append(number))


@contextmanager
def observe_signal(
    flow_run_id: UUID,  # noqa: ARG001 - Prefect passes it; a process has one such run
    suspension_request: Any,
    polling_interval: float = 10,  # noqa: ARG001 - nothing is polled
) -> Iterator[None]:
    """Have Prefect suspend the run once this process has received the suspension signal.

    It replaces ``observe_flow_run_suspension``. The request is read without its lock, because the
    handler of a signal may interrupt the thread that holds it.
    """
    from prefect.client.schemas.objects import State, StateType

    read = suspension_request.get_state
    suspended: State[Any] = State(type=StateType.PAUSED, name="Suspended")
    suspension_request.get_state = lambda: suspended if _received else read()
    try:
        yield
    finally:
        del suspension_request.get_state
