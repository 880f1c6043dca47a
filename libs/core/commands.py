"""Commands to the core and their results: the inputs and outputs of ``transitions``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from prefect_instances.libs.core.gate import Blocker
from prefect_instances.libs.core.records import Request, Run
from prefect_instances.libs.core.status import RunStatus


@dataclass(frozen=True, slots=True)
class Started:
    """The run has claimed its opening; it reads exactly ``run.pins``."""

    run: Run


@dataclass(frozen=True, slots=True)
class Skipped:
    """This Prefect flow run has nothing to do; ``why`` is one line for its final state."""

    why: str


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """The flow run keeps its earlier bad end; a new run is requested, as ``why`` says."""

    why: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The gate is closed; the request is stored and runs when ``blockers`` are READY."""

    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class Unusable:
    """A definition that the run needs cannot be used, as ``why`` says; nothing ran."""

    why: str


Start = Started | Skipped | AskedAgain | Blocked | Unusable


@dataclass(frozen=True, slots=True)
class StartCommand:
    """The attempt of a Prefect flow run to start, for an opening or for its own request.

    ``unusable`` says which definition cannot be used; empty if all can.
    """

    run_id: UUID
    prefect_flow_run_id: UUID
    flow_id: UUID
    opening_id: UUID | None
    request: Request | None
    lease_until: datetime | None = None
    unusable: str = ""


@dataclass(frozen=True, slots=True)
class Output:
    """The result of a successful run.

    ``version_id`` is None if the output equals the current version (early cut-off). ``next_due_at``
    is the schedule's next slot and ``due_deadline`` that slot plus the grace period; both are None
    without a schedule. ``expected_data_date`` is the date that the newest data must have for the
    slot that the run served; None if there is no such demand. A run that reads only past dates does
    not serve a slot (``serves_slot``): the slot stays due.
    """

    version_id: UUID | None
    content_hash: str
    last_data_date: date | None = None
    next_due_at: datetime | None = None
    due_deadline: datetime | None = None
    expected_data_date: date | None = None
    serves_slot: bool = True

    @property
    def source_delayed(self) -> bool:
        """True if the newest data are older than the slot demands."""
        expected, newest = self.expected_data_date, self.last_data_date
        return expected is not None and (newest is None or newest < expected)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often an ended run is repeated automatically, and after what delay."""

    failed: int = 0
    failed_delay: timedelta = timedelta(seconds=30)
    crashed: int = 2
    crashed_delay: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class BadEnd:
    """A run that ended FAILED, CRASHED or CANCELLED, with a one-line error.

    ``retry_id`` becomes the id of the retry's request if the policy allows a retry. ``judged_at``
    is when an expired lease was seen; None if the run ended for another reason.
    """

    run_id: UUID
    status: RunStatus
    error: str
    retry_id: UUID
    judged_at: datetime | None = None
