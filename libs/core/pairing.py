"""The decision about a Prefect flow run and its run record when the two disagree.

A process may die at any point between the submission of its flow run and its last state. Prefect
and the database then disagree, and one of them would stay wrong for ever. ``DECISIONS`` holds the
decision for each pair of states; ``docs/states-of-runs.md`` explains the same table.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from prefect_instances.libs.core.status import RunStatus


class There(StrEnum):
    """State of a flow run in Prefect; ABSENT if Prefect does not know it."""

    ABSENT = "ABSENT"
    SCHEDULED = "SCHEDULED"
    PENDING = "PENDING"
    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"
    FAILED = "FAILED"
    CRASHED = "CRASHED"
    CANCELLED = "CANCELLED"


class Here(StrEnum):
    """State of the same flow run in the database; UNCLAIMED if it has claimed no opening."""

    UNCLAIMED = "unclaimed"
    RUNNING = "running"
    ENDED = "ended"


class Verdict(StrEnum):
    """The action to take."""

    LEAVE = "leave both"
    START_AGAIN = "start the opening again"
    CRASH_THERE = "end it in Prefect as Crashed, then start the opening again"
    END_THERE = "end it in Prefect as it ended here"
    CRASH_HERE = "end it here as crashed"
    CRASH_BOTH = "end it here as crashed, then in Prefect"
    END_HERE = "end it here as it ended in Prefect"


@dataclass(frozen=True, slots=True)
class Decision:
    """The verdict while the process may be alive, and once it has been silent too long."""

    heard: Verdict
    silent: Verdict


def _always(verdict: Verdict) -> Decision:
    return Decision(verdict, verdict)


_LEAVE = _always(Verdict.LEAVE)
_AGAIN = _always(Verdict.START_AGAIN)
_GHOST = Decision(Verdict.LEAVE, Verdict.CRASH_THERE)
_LOST = Decision(Verdict.LEAVE, Verdict.CRASH_HERE)
_DEAD = Decision(Verdict.LEAVE, Verdict.CRASH_BOTH)
_BEHIND = Decision(Verdict.LEAVE, Verdict.END_THERE)

DECISIONS: Mapping[tuple[There, Here], Decision] = {
    (There.ABSENT, Here.UNCLAIMED): _AGAIN,
    (There.ABSENT, Here.RUNNING): _LOST,
    (There.ABSENT, Here.ENDED): _LEAVE,
    # A worker will start it, even if none is up for a long time.
    (There.SCHEDULED, Here.UNCLAIMED): _LEAVE,
    (There.SCHEDULED, Here.RUNNING): _DEAD,
    (There.SCHEDULED, Here.ENDED): _LEAVE,
    (There.PENDING, Here.UNCLAIMED): _GHOST,
    (There.PENDING, Here.RUNNING): _DEAD,
    (There.PENDING, Here.ENDED): _BEHIND,
    (There.RUNNING, Here.UNCLAIMED): _GHOST,
    (There.RUNNING, Here.RUNNING): _DEAD,
    (There.RUNNING, Here.ENDED): _BEHIND,
    (There.COMPLETED, Here.UNCLAIMED): _AGAIN,
    # It can no longer publish.
    (There.COMPLETED, Here.RUNNING): _always(Verdict.CRASH_HERE),
    (There.COMPLETED, Here.ENDED): _LEAVE,
    (There.FAILED, Here.UNCLAIMED): _AGAIN,
    (There.FAILED, Here.RUNNING): _always(Verdict.END_HERE),
    (There.FAILED, Here.ENDED): _LEAVE,
    (There.CRASHED, Here.UNCLAIMED): _AGAIN,
    (There.CRASHED, Here.RUNNING): _always(Verdict.END_HERE),
    (There.CRASHED, Here.ENDED): _LEAVE,
    (There.CANCELLED, Here.UNCLAIMED): _AGAIN,
    (There.CANCELLED, Here.RUNNING): _always(Verdict.END_HERE),
    (There.CANCELLED, Here.ENDED): _LEAVE,
}
"""The decision for each pair; START_AGAIN only applies to an opening that still waits for a run."""


class Restart(StrEnum):
    """What to do with an opening whose flow run ended before it claimed the opening."""

    NOW = "start it again at once"
    LATER = "start it again in the next sweep"
    NEVER = "end it as its flow run ended"


QUICK_STARTS = 3
"""Attempts to start the run of an opening without delay; later ones wait for the sweep."""

LAST_START = 10
"""Attempts after which an opening is given up, if the processes of all of them died."""

UNAVAILABLE, WRONG_DATABASE = "Unavailable", "WrongDatabase"
"""Names of the Failed states of a run that something else made fail; it does not count."""


def decide_restart(there: There, name: str, attempt: int) -> Restart:
    """Decide whether an opening gets another run after one that ended before its claim.

    ``name`` is the name of that run's state. A run that failed for a reason of its own, such as a
    module that cannot be imported, would fail again. One that met a missing service, or whose
    process died, may succeed later.
    """
    if there is There.FAILED and name not in (UNAVAILABLE, WRONG_DATABASE):
        return Restart.NEVER
    if there is There.CRASHED and attempt >= LAST_START:
        return Restart.NEVER
    return Restart.NOW if attempt < QUICK_STARTS else Restart.LATER


BAD_ENDS: Mapping[There, RunStatus] = {
    There.FAILED: RunStatus.FAILED,
    There.CRASHED: RunStatus.CRASHED,
    There.CANCELLED: RunStatus.CANCELLED,
}
"""The status on record for each state in Prefect of a run that did not succeed."""


def decide_end(there: There, name: str) -> RunStatus:
    """Decide how to record the end of a claimed run that did not record it itself.

    ``name`` is the name of its state in Prefect. A run that failed because a service did not
    answer counts as crashed: most likely that service was the database, and nothing is wrong with
    its data or code.
    """
    return RunStatus.CRASHED if name == UNAVAILABLE else BAD_ENDS[there]


def here(status: RunStatus | None) -> Here:
    """Group the status of a run record; None stands for a flow run that claimed nothing."""
    if status is None:
        return Here.UNCLAIMED
    return Here.RUNNING if status is RunStatus.RUNNING else Here.ENDED


def decide(there: There, status: RunStatus | None, *, silent: bool) -> Verdict:
    """Return the verdict for one flow run.

    ``silent``: for a run that is RUNNING in the database, whether its lease has expired; for any
    other, whether neither side has changed for longer than a process needs to begin or to end.
    """
    decision = DECISIONS[there, here(status)]
    return decision.silent if silent else decision.heard


def lease_is_over(
    lease_until: datetime | None, now: datetime, swept_at: datetime | None, usual: timedelta
) -> bool:
    """Return True if the process of a run that is RUNNING in the database counts as dead.

    If the last sweep is more than two ``usual`` intervals ago, a lease that expired since then may
    have expired because nobody could write (the database was unreachable, the machine slept). Such
    a process gets until the next sweep. ``swept_at`` is None before the first sweep.
    """
    if lease_until is None or lease_until >= now:
        return False
    away = swept_at is not None and now - swept_at > 2 * usual
    return not (away and swept_at is not None and lease_until >= swept_at)


RETRY_SECONDS = 1.0
"""Seconds until a heartbeat that could not be written is tried again."""


def is_still_silent(lease_until: datetime | None, judged_at: datetime, now: datetime) -> bool:
    """Return True if a run whose lease was seen expired at ``judged_at`` counts as dead ``now``.

    ``now`` is when its end can be written. Its process may have extended the lease since then. If
    the write had to wait, the process may be waiting too, and gets until the next sweep.
    """
    extended = lease_until is not None and lease_until >= now
    return not extended and now - judged_at <= timedelta(seconds=RETRY_SECONDS)


def seconds_to_next_beat(usual: float, *, written: bool) -> float:
    """Return the seconds until a run's next heartbeat; ``usual`` is the interval between two.

    A heartbeat that could not be written is soon tried again: the first sweep after the database
    comes back judges the lease.
    """
    return usual if written else min(usual, RETRY_SECONDS)
