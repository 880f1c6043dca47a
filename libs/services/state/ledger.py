"""Apply the decisions of the core; each method is one serial transaction.

A transaction loads the part of the graph that the decision reads, calls ``libs.core.transitions``,
and writes the difference together with its events.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TypeVar
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core import ids, starting, transitions
from prefect_instances.libs.core import requests as asking
from prefect_instances.libs.core.commands import BadEnd, Output, RetryPolicy, Start, StartCommand
from prefect_instances.libs.core.errors import Interrupted, WrongLifecycle
from prefect_instances.libs.core.records import OpeningStatus, Region, Request, RunParameters
from prefect_instances.libs.core.status import Cause, Lifecycle, RunStatus
from prefect_instances.libs.core.unit_of_work import Changes, Draft
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    DatasetVersion,
    GateOpening,
    RunRecord,
)
from prefect_instances.libs.db.repositories.flows import select_flow_ids, select_past_due
from prefect_instances.libs.db.repositories.outbox import record_events
from prefect_instances.libs.db.repositories.region import load_region, save_changes
from prefect_instances.libs.db.repositories.runs import extend_lease, update_results
from prefect_instances.libs.db.repositories.subscribers import read_relay

PAST_DUE_BATCH = 1000
"""How many flows one transaction marks as past due."""

Clock = Callable[[], datetime]
Answer = TypeVar("Answer")


def utc_now() -> datetime:
    """Return the current instant, aware UTC."""
    return datetime.now(UTC)


@dataclass(frozen=True, slots=True)
class RunWish:
    """A run request made by a flow run that no opening started: its cause and parameters."""

    cause: Cause
    parameters: RunParameters = RunParameters()


@dataclass(frozen=True, slots=True)
class Drift:
    """Drift of a model's data above the threshold.

    ``report`` holds the measures of the drift. ``retrain`` is the id of the training flow to run
    again; None if drift starts no training.
    """

    report: Mapping[str, object]
    retrain: UUID | None


@dataclass(frozen=True, slots=True)
class Publication:
    """What a success records: metrics, artifacts, and the version it publishes (None: none).

    ``record`` writes more rows in the same transaction.
    """

    version: DatasetVersion | None
    metrics: dict[str, object]
    artifacts: Sequence[dict[str, object]] = ()
    drift: Drift | None = None
    record: Callable[[Session], None] | None = None


class Ledger:
    """All changes of state in one database.

    ``clock`` returns the instant of each decision. ``lease`` is how long a run may be silent before
    it counts as dead.
    """

    def __init__(
        self,
        database: Database,
        clock: Clock = utc_now,
        *,
        lease: timedelta = timedelta(seconds=30),
        retry: RetryPolicy = RetryPolicy(),  # noqa: B008  # frozen
    ) -> None:
        self.database, self.clock, self.lease, self.retry = database, clock, lease, retry

    def start(
        self,
        flow_id: UUID,
        prefect_flow_run_id: UUID,
        *,
        opening_id: UUID | None = None,
        ask: RunWish | None = None,
        unusable: str = "",
    ) -> Start:
        """Claim an opening, or create a run request and claim that; see ``starting.start``."""
        run_id, request_id = uuid4(), uuid4()

        def decide(draft: Draft) -> Start:
            command = StartCommand(
                run_id=run_id,
                prefect_flow_run_id=prefect_flow_run_id,
                flow_id=flow_id,
                opening_id=opening_id,
                request=_request(request_id, flow_id, ask, draft.now) if ask else None,
                lease_until=draft.now + self.lease,
                unusable=unusable,
            )
            return starting.start(draft, command)

        return self._decide(
            [flow_id],
            decide,
            ascend=ask is not None and ask.parameters.recursive,
            prefect_flow_run_id=prefect_flow_run_id,
        )[0]

    def end_unstarted(
        self, opening_id: UUID, prefect_flow_run_id: UUID, status: RunStatus, error: str
    ) -> bool:
        """Record a flow run that ended badly before it claimed its opening, without a retry.

        Returns False if the opening does not wait for a run any more.
        """
        run_id, retry_id = uuid4(), uuid4()
        flow_id = self._flow_of_opening(opening_id)
        if flow_id is None:
            return False

        def decide(draft: Draft) -> bool:
            command = StartCommand(run_id, prefect_flow_run_id, flow_id, opening_id, None)
            return starting.end_unstarted(draft, command, status, error, retry_id)

        return self._decide([flow_id], decide, True, prefect_flow_run_id=prefect_flow_run_id)[0]

    def succeed(
        self,
        run_id: UUID,
        output: Output,
        publication: Publication | None = None,
        retry: RetryPolicy | None = None,
    ) -> Changes:
        """Record a success and publish its version, if any.

        ``retry`` says how often a run is repeated because its source is delayed. If the same
        success is already committed, nothing changes. Raises Interrupted if the run has lost its
        claim.
        """
        retry_id = uuid4()
        flow_id, request_id = self._flow_of_run(run_id), uuid4()
        drift = publication.drift if publication else None
        again = drift.retrain if drift else None
        flow_ids = [flow_id, *([again] if again else [])]

        def decide(draft: Draft) -> None:
            transitions.succeed(draft, run_id, output, retry or self.retry, retry_id)
            if drift is not None:
                wish = RunWish(Cause.SCHEDULE)
                request = _request(request_id, again, wish, draft.now) if again else None
                transitions.detect_drift(draft, flow_id, drift.report, request)

        def write(session: Session, changes: Changes) -> None:
            if publication is None:
                return
            update_results(session, run_id, publication.metrics, publication.artifacts)
            if publication.version is not None:
                generation = next(f.generation for f in changes.flows if f.id == flow_id)
                publication.version.generation = generation
                session.merge(publication.version)
            if publication.record is not None:
                publication.record(session)

        try:
            return self._decide(
                flow_ids,
                decide,
                True,
                write=write,
            )[1]
        except Interrupted:
            if self._is_published(run_id, output):
                return Changes()
            raise

    def end_badly(
        self,
        run_id: UUID,
        status: RunStatus,
        error: str,
        retry: RetryPolicy | None = None,
        *,
        silent: bool = False,
    ) -> Changes:
        """Record a failure, crash or cancellation.

        ``silent``: the only sign of the end is an expired lease. Raises Interrupted if the run is
        not RUNNING, or if it is ``silent`` and may be alive after all.
        """
        end = BadEnd(run_id, status, error, uuid4(), self.clock() if silent else None)
        policy = retry or self.retry
        return self._decide(
            [self._flow_of_run(run_id)],
            lambda draft: transitions.end_badly(draft, end, policy),
            True,
        )[1]

    def ask(
        self,
        flow_id: UUID,
        cause: Cause,
        parameters: RunParameters = RunParameters(),  # frozen
    ) -> Changes:
        """Save a run request and open the gate for it if that is possible now."""
        request_id, wish = uuid4(), RunWish(cause, parameters)
        return self._decide(
            [flow_id],
            lambda draft: asking.request_run(draft, _request(request_id, flow_id, wish, draft.now)),
            ascend=parameters.recursive,
        )[1]

    def reconfigure(self, flow_id: UUID) -> Changes:
        """Record a change of a flow's configuration that affects its output."""

        def decide(draft: Draft) -> None:
            transitions.mark_reconfigured(draft, flow_id, draft.flows[flow_id].config_version + 1)

        return self._decide([flow_id], decide, True)[1]

    def set_lifecycle(
        self,
        instance_id: UUID,
        lifecycle: Lifecycle,
        *,
        first_run: Cause | None = None,
        write: Callable[[Session], None] | None = None,
        only_from: Collection[Lifecycle] = tuple(Lifecycle),
    ) -> Changes:
        """Activate, pause or resume an instance; evaluate the gates of an active one.

        ``first_run`` adds a run request of that cause for each flow. ``write`` writes more rows in
        the same transaction. Raises WrongLifecycle if the current lifecycle is not in
        ``only_from``.
        """
        flow_ids = self._flows_of(instance_id)
        request_ids = {flow_id: uuid4() for flow_id in flow_ids} if first_run else {}

        def decide(draft: Draft) -> None:
            instance = draft.instances[instance_id]
            if instance.lifecycle not in only_from:
                raise WrongLifecycle(instance.name, instance.lifecycle, only_from)
            for flow_id, request_id in request_ids.items():
                wish = RunWish(first_run or Cause.PROVISION)
                asking.request_run(draft, _request(request_id, flow_id, wish, draft.now))
            transitions.set_lifecycle(draft, instance_id, lifecycle)

        return self._decide(
            flow_ids,
            decide,
            True,
            write=(lambda session, _: write(session)) if write else None,
            instance_ids=[instance_id],
        )[1]

    def mark_past_due(self) -> Changes:
        """Announce missed deadlines; READY flows become STALE / PastDue and get a run request.

        Each call handles the ``PAST_DUE_BATCH`` longest overdue flows; call it until it changes
        nothing.
        """
        with self.database.read() as session:
            flow_ids = select_past_due(session, self.clock(), PAST_DUE_BATCH)
        if not flow_ids:
            return Changes()
        wish = RunWish(Cause.SCHEDULE)

        def decide(draft: Draft) -> None:
            late = [
                _request(uuid4(), flow_id, wish, draft.now)
                for flow_id in flow_ids
                if (deadline := draft.flows[flow_id].due_deadline) and deadline < draft.now
            ]
            transitions.mark_past_due(draft, late)

        return self._decide(flow_ids, decide)[1]

    def announce_again(self, opening_id: UUID) -> Changes:
        """Announce an opening again because its run died before it claimed it.

        Nothing changes if the opening is not open.
        """
        flow_id = self._flow_of_opening(opening_id)
        if flow_id is None:
            return Changes()

        def decide(draft: Draft) -> None:
            if opening_id in draft.openings:
                transitions.announce_again(draft, opening_id)

        return self._decide([flow_id], decide)[1]

    def recompute(self, instance_id: UUID) -> Changes:
        """Aggregate the status of an instance again and evaluate its gates."""

        def decide(draft: Draft) -> None:
            draft.touched.add(instance_id)
            transitions.set_lifecycle(draft, instance_id, draft.instances[instance_id].lifecycle)

        return self._decide(self._flows_of(instance_id), decide, instance_ids=[instance_id])[1]

    def _flows_of(self, instance_id: UUID) -> list[UUID]:
        with self.database.read() as session:
            return select_flow_ids(session, [instance_id])

    def extend_lease(self, run_id: UUID) -> bool:
        """Extend the lease of a run; return False if the run has lost its claim.

        If a broker is configured, an event tells subscribers that the run is in progress.
        """

        def work(session: Session) -> bool:
            # Counted from the write: it may have waited for longer than a lease.
            alive = extend_lease(session, run_id, self.clock() + self.lease)
            if alive and read_relay(session).configured:
                self._tell_progress(session, run_id)
            return alive

        return self.database.transact(work)

    def _tell_progress(self, session: Session, run_id: UUID) -> None:
        """Record an event for subscribers that a run is still in progress."""
        run = session.get_one(RunRecord, run_id)
        draft = Draft(load_region(session, [run.flow_id]), self.clock())
        seconds = round((draft.now - run.started_at).total_seconds(), 1)
        told = {"run": {"id": str(run_id), "cause": run.cause.value, "seconds": seconds}}
        draft.facts.append((ids.RUN_PROGRESS, run.flow_id, told))
        record_events(session, draft.changes().events)

    def _flow_of_opening(self, opening_id: UUID) -> UUID | None:
        """Return the flow of an opening; None if the opening is not open."""
        with self.database.read() as session:
            opening = session.get(GateOpening, opening_id)
            waits = opening is not None and opening.status is OpeningStatus.OPEN
            return opening.flow_id if opening is not None and waits else None

    def _flow_of_run(self, run_id: UUID) -> UUID:
        with self.database.read() as session:
            run = session.get(RunRecord, run_id)
            if run is None:
                raise Interrupted(f"run {run_id} does not exist; its instance was removed")
            if run.status is not RunStatus.RUNNING:
                raise Interrupted(f"run {run_id} has already ended ({run.status})")
            return run.flow_id

    def _is_published(self, run_id: UUID, output: Output) -> bool:
        """Return True if the success was committed although the answer was lost."""
        with self.database.read() as session:
            run = session.get(RunRecord, run_id)
            return (
                run is not None
                and run.status is RunStatus.COMPLETED
                and output.version_id in (None, run.output_version)
            )

    def _decide(
        self,
        flow_ids: Collection[UUID],
        decide: Callable[[Draft], Answer],
        descend: bool = False,
        *,
        ascend: bool = False,
        prefect_flow_run_id: UUID | None = None,
        write: Callable[[Session, Changes], None] | None = None,
        instance_ids: Collection[UUID] = (),
    ) -> tuple[Answer, Changes]:
        def work(session: Session) -> tuple[Answer, Changes]:
            region = load_region(
                session,
                flow_ids,
                descend=descend,
                ascend=ascend,
                prefect_flow_run_id=prefect_flow_run_id,
                instance_ids=instance_ids,
            )
            return self.apply(session, region, decide, write)

        return self.database.transact(work)

    def apply(
        self,
        session: Session,
        region: Region,
        decide: Callable[[Draft], Answer],
        write: Callable[[Session, Changes], None] | None = None,
    ) -> tuple[Answer, Changes]:
        """Decide on a loaded part of the graph; write the outcome in the caller's transaction."""
        draft = Draft(region, self.clock())
        answer = decide(draft)
        changes = draft.changes()
        save_changes(session, region, changes)
        if write is not None:
            write(session, changes)
        record_events(session, changes.events)
        return answer, changes


def _request(request_id: UUID, flow_id: UUID, ask: RunWish, now: datetime) -> Request:
    return Request(
        id=request_id,
        flow_id=flow_id,
        cause=ask.cause,
        parameters=ask.parameters,
        created_at=now,
        not_before=now,
    )
