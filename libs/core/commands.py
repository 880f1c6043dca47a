"""What is asked of the core and what it answers: the frozen values around ``transitions``."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from prefect_instances.libs.core.gate import Blocker
from prefect_instances.libs.core.records import Request, Run
from prefect_instances.libs.core.status import RunStatus


@dataclass(frozen=True, slots=True)
class Started:
    """The run holds its claim; ``run.pins`` is exactly what it is to read."""

    run: Run


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing to do for this Prefect flow run; ``why`` is one line for its final state."""

    why: str


@dataclass(frozen=True, slots=True)
class AskedAgain:
    """The flow run ended badly before and stays so; a new run was asked for, as ``why`` says."""

    why: str


@dataclass(frozen=True, slots=True)
class Blocked:
    """The gate is shut; what was asked is remembered and runs when ``blockers`` are READY."""

    blockers: tuple[Blocker, ...]


@dataclass(frozen=True, slots=True)
class Unusable:
    """A definition that the run needs cannot be used, as ``why`` says; nothing ran."""

    why: str


Start = Started | Skipped | AskedAgain | Blocked | Unusable


@dataclass(frozen=True, slots=True)
class StartCommand:
    """A Prefect flow run wants to work: for an opening, or for a request of its own.

    ``unusable`` says which definition it cannot work with; empty where there is none such.
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
    """What a successful run leaves behind.

    ``version_id`` is None where the output equals the current version (early cut-off).
    ``next_due_at`` and ``due_deadline`` are the schedule's next slot and that plus grace, None
    without a schedule. ``expected_data_date`` is what the slot that the run served demands of the
    newest data, None where that is not judged. A run about the past does not serve a slot: what
    was due still is.
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
        """True where the newest data are older than the slot demands."""
        expected, newest = self.expected_data_date, self.last_data_date
        return expected is not None and (newest is None or newest < expected)


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often, and after what pause, an ended run is repeated by itself."""

    failed: int = 0
    failed_delay: timedelta = timedelta(seconds=30)
    crashed: int = 2
    crashed_delay: timedelta = timedelta(seconds=5)


@dataclass(frozen=True, slots=True)
class BadEnd:
    """A run that did not succeed: FAILED, CRASHED or CANCELLED, with the error's one line.

    ``retry_id`` is the id that a retry's request gets, should the policy make one.
    """

    run_id: UUID
    status: RunStatus
    error: str
    retry_id: UUID
