"""Publish status changes to subscribers: in the background after a commit, or by the sweep.

A lease in the database lets one relay publish at a time, so messages are neither duplicated nor out
of order. If the broker fails, a circuit breaker opens, also in the database: until it closes, no
process tries, and a run pays one read for it. Runs publish from a background thread; at its end a
run waits at most ``RELAY_PATIENCE`` for an answer.
"""

from __future__ import annotations

import logging
import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from time import monotonic
from typing import Protocol
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import InstancesError, Unavailable
from prefect_instances.libs.core.subscriber_messages import Message, RelayState
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.subscribers import (
    count_pending_messages,
    drop_pending_messages,
    mark_messages_published,
    read_relay,
    select_pending_messages,
    write_relay,
)

BATCH = 50
"""Messages between two writes that record their acceptance.

If a process dies in between, they are sent again, which is harmless.
"""

RELAY_LEASE = timedelta(seconds=40)
"""How long one relay may publish without renewal; longer than the slowest publication."""

RELAY_PATIENCE = 0.5
"""Seconds for which the end of a run waits for an answer of the broker."""

LONGEST_WAIT = 2.0
"""Seconds for which the end of a run waits in total while the broker answers."""

_log = logging.getLogger("instances.live")


class Broker(Protocol):
    """The service that messages are published to."""

    def publish(self, channel: str, payload: Mapping[str, object], key: str) -> None:
        """Publish one message; raise an InstancesError if it is not accepted."""

    def close(self) -> None:
        """Close the connection."""


class SubscriberRelay:
    """The subscriber relay of one process.

    ``open_broker`` returns None while no broker is configured.
    """

    def __init__(
        self,
        database: Database,
        clock: Callable[[], datetime],
        open_broker: Callable[[], Broker | None],
    ) -> None:
        self._database, self._clock, self._open = database, clock, open_broker
        self._broker: Broker | None = None
        self._holder = uuid4()
        self._wanted, self._idle, self._stop = threading.Event(), threading.Event(), False
        self._idle.set()
        self._thread: threading.Thread | None = None
        self._asking, self._last_answer = False, 0.0

    def kick(self) -> None:
        """Publish in the background what was just committed."""
        if self._stop:
            return
        self._idle.clear()
        self._wanted.set()
        if self._thread is None:
            self._last_answer = monotonic()
            self._thread = threading.Thread(target=self._serve, name="live-relay", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Finish what is in progress, but do not wait for a broker that does not answer."""
        if self._thread is None:
            return
        self._last_answer = max(self._last_answer, monotonic() - RELAY_PATIENCE / 2)
        until = monotonic() + LONGEST_WAIT
        while not self._idle.wait(0.01):
            if monotonic() > min(until, self._last_answer + RELAY_PATIENCE):
                break
        self._stop = True
        self._wanted.set()
        self._thread.join(0.1)
        if self._thread.is_alive():
            self._abandon()

    def drain(self, seconds: float) -> int:
        """Publish waiting messages in this thread for at most ``seconds``; return their number.

        A failure is recorded in the database.
        """
        until, count = monotonic() + seconds, 0
        while monotonic() < until and self._take():
            published, error = self._publish_all(until)
            count += published
            self._release(error)
            if error is not None:
                _log.warning("status changes are not published yet: %s", error)
                break
        return count

    def check_broker(self) -> bool:
        """Check whether a broker is configured and record it; return True if it can be used.

        Without a broker, waiting messages are dropped. If the broker's configuration is wrong, the
        error is recorded. Raises Unavailable if Prefect or the database does not answer.
        """
        error: InstancesError | None = None
        try:
            self._broker = self._open()
        except Unavailable:
            raise
        except InstancesError as fault:
            error = fault
        configured = error is not None or self._broker is not None

        def work(session: Session) -> None:
            state = read_relay(session)
            if not configured:
                drop_pending_messages(session, self._clock())
                write_relay(session, RelayState())
            elif error is not None:
                now = self._clock()
                state = replace(state, configured=True)
                write_relay(session, state.failed(now, str(error), random.random()))  # noqa: S311  # jitter
            else:
                write_relay(session, replace(state, configured=True))

        with self._database.read() as session:
            state, (count, _) = read_relay(session), count_pending_messages(session)
        if error is not None or configured != state.configured or (count and not configured):
            self._database.transact(work)
        return configured and error is None

    def _serve(self) -> None:
        while self._wanted.wait() and not self._stop:
            self._wanted.clear()
            try:
                self.drain(float("inf"))
            except Unavailable as error:
                _log.warning("the next sweep publishes the status changes: %s", error)
            if not self._wanted.is_set():
                self._idle.set()

    def _take(self) -> bool:
        """Acquire the lease if messages wait and no other relay publishes."""
        now = self._clock()
        with self._database.read() as session:
            if not read_relay(session).is_open_to(now) or not select_pending_messages(session, 1):
                return False

        def work(session: Session) -> bool:
            state = read_relay(session)
            if not state.is_open_to(now):
                return False
            if state.holder is not None:
                reason = "the process that published ended before it had an answer"
                write_relay(session, state.failed(now, reason, random.random()))  # noqa: S311  # jitter
                return False
            write_relay(session, replace(state, holder=self._holder, lease_until=now + RELAY_LEASE))
            return True

        return self._database.transact(work)

    def _publish_all(self, until: float) -> tuple[int, InstancesError | None]:
        count, error = 0, None
        while error is None and not self._stop and monotonic() < until:
            with self._database.read() as session:
                batch = select_pending_messages(session, BATCH)
            if not batch:
                break
            accepted, error = self._publish(batch)
            if accepted and not self._mark(accepted):
                break
            count += len(accepted)
        return count, error

    def _publish(self, batch: Sequence[Message]) -> tuple[list[UUID], InstancesError | None]:
        """Publish a batch in order; return the accepted event ids and the error that stopped it."""
        accepted: list[UUID] = []
        until = monotonic() + RELAY_LEASE.total_seconds() / 2
        try:
            if self._broker is None:
                self._broker = self._open()
            if self._broker is None:
                return [], Unavailable(
                    "Centrifugo", "its block was deleted; the next sweep stops publishing"
                )
            for message in batch:
                if self._stop or monotonic() > until:
                    break
                for channel in message.channels:
                    self._asking = True
                    self._broker.publish(channel, message.payload, message.key)
                    self._asking, self._last_answer = False, monotonic()
                accepted.append(message.event_id)
        except InstancesError as error:
            self._asking = False
            return accepted, error
        return accepted, None

    def _mark(self, accepted: list[UUID]) -> bool:
        """Record accepted messages and renew the lease; return False if another relay holds it."""
        now = self._clock()

        def work(session: Session) -> bool:
            mark_messages_published(session, accepted, now)
            state = read_relay(session)
            if state.holder != self._holder:
                return False
            write_relay(session, replace(state, lease_until=now + RELAY_LEASE))
            return True

        return self._database.transact(work)

    def _release(self, error: InstancesError | None) -> None:
        def work(session: Session) -> None:
            state = read_relay(session)
            if state.holder != self._holder:
                return
            if error is None:
                write_relay(session, RelayState(configured=True))
            else:
                now = self._clock()
                write_relay(session, state.failed(now, str(error), random.random()))  # noqa: S311  # jitter

        self._database.transact(work)

    def _abandon(self) -> None:
        """Leave a thread behind that waits for an answer, and record why for the next relay."""
        detail = f"no answer for {RELAY_PATIENCE:g} s when a run ended"
        try:
            self._release(Unavailable("Centrifugo", detail) if self._asking else None)
        except Unavailable as error:
            _log.warning("%s", error)
