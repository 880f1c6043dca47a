"""Backfills: read a range of past dates of a dataset or signal again, piece by piece.

Each piece is a normal run of the instance's flow, made by a run request: it waits for its
upstreams, is repeated after a crash, and publishes a version if the source has revised the past.
Pieces run one after another, because each adds to the version that the previous one published. The
progress of a backfill is read from its runs, so one that was interrupted continues where it stopped
when it is requested again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import astuple, dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.backfill import Chunk, Piece, PieceState, pieces, state_of
from prefect_instances.libs.core.errors import InvalidSpec, PermanentError, Problem, WrongLifecycle
from prefect_instances.libs.core.lineage import topological_order
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause, FlowKind, Lifecycle, Reason, RunStatus
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    Backfill,
    DatasetVersion,
    FlowExecutionResource,
    RunRecord,
)
from prefect_instances.libs.db.repositories.backfills import select_backfill
from prefect_instances.libs.db.repositories.flows import select_instance_ids, select_pairs_into
from prefect_instances.libs.db.repositories.openings import (
    select_flows_requested_since,
    select_pending_parameters,
)
from prefect_instances.libs.db.repositories.region import read_parameters, select_descendants
from prefect_instances.libs.db.repositories.resources import Named, flows_of, get_instance
from prefect_instances.libs.db.repositories.runs import select_outcomes_since, select_runs_since
from prefect_instances.libs.db.repositories.versions import published_any
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.event_relay import relay_or_leave

POLL_SECONDS = 0.5
MOST_PIECES = 10_000
"""A backfill by days with more pieces is refused: its chunk must be a mistake."""


@dataclass(frozen=True, slots=True)
class BackfillRequest:
    """A requested backfill: the dates (inclusive) and the size of its pieces.

    With ``downstream`` also those flows downstream run again that no upstream triggers.
    """

    start: date
    end: date
    chunk: Chunk = Chunk.MONTH
    downstream: bool = False

    def pieces(self) -> list[Piece]:
        """Return the pieces in order; raise InvalidSpec with every problem of the dates."""
        faults = []
        if self.end < self.start:
            faults.append(Problem("end", f"{self.end} is before the start {self.start}"))
        days = (self.end - self.start).days + 1
        if self.chunk is Chunk.DAY and days > MOST_PIECES:
            message = f"{days:,} days are more than {MOST_PIECES:,} pieces; choose a longer chunk"
            faults.append(Problem("chunk", message))
        if faults:
            raise InvalidSpec(faults)
        return list(pieces(self.start, self.end, self.chunk))


class NotBackfilled(PermanentError):
    """A piece did not complete: correct what its run says, then request the same backfill again."""

    def __init__(self, instance: str, piece: Piece, why: str) -> None:
        self.instance, self.piece, self.why = instance, piece, why
        super().__init__(
            f"backfill of {instance} stopped at {piece}: {why}; repeat the command to continue"
        )


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a backfill: pieces done, pieces in total, and the current piece.

    ``piece`` is None if all pieces are done.
    """

    instance: Named
    done: int
    total: int
    piece: Piece | None

    def __str__(self) -> str:
        if self.piece is None:
            return f"{self.instance.label}: all {self.total} pieces read"
        return f"{self.instance.label}: piece {self.done + 1} of {self.total}, {self.piece}"


Tell = Callable[[Progress], None]


def backfill(
    services: Services,
    reference: str,
    asked: BackfillRequest,
    tell: Tell = lambda _: None,
    wait: Callable[[float], None] = time.sleep,
) -> list[dict[str, Any]]:
    """Read a range of dates again and return the result of each piece, in order.

    A result holds the dates, the run, the published generation and the first date that differs from
    the generation before; both are None if the source returned what is stored. An unfinished
    backfill with the same parameters continues where it stopped. Raises NotFound, InvalidSpec,
    WrongLifecycle for an instance that is not ACTIVE, and NotBackfilled if a piece fails finally;
    the pieces before it stay.
    """
    listed = asked.pieces()
    with services.database.read() as session:
        instance = get_instance(session, reference)
        flow_id = _refresh_flow(session, instance)
    batch = services.database.transact(
        lambda session: _opened(session, flow_id, asked, services.now())
    )
    for number, piece in enumerate(listed):
        tell(Progress(instance, number, len(listed), piece))
        _read_piece(services, instance, batch, piece, wait)
    if asked.downstream:
        _ask_below(services, batch)
    services.database.transact(lambda session: _finish(session, batch.id, services.now()))
    tell(Progress(instance, len(listed), len(listed), None))
    return _found(services, batch, listed)


@dataclass(frozen=True, slots=True)
class _Batch:
    id: UUID
    flow_id: UUID
    begun: datetime


def _refresh_flow(session: Session, instance: Named) -> UUID:
    """Return the id of the refresh flow; raise if the instance is not active or has none."""
    if instance.lifecycle is not Lifecycle.ACTIVE:
        raise WrongLifecycle(instance.label, instance.lifecycle, [Lifecycle.ACTIVE])
    for flow in flows_of(session, instance.id):
        if flow.kind == FlowKind.REFRESH:
            return flow.id
    raise InvalidSpec(
        [
            Problem(
                "instance",
                f"{instance.label!r} is a {instance.type}: only datasets and signals "
                "can be backfilled; use `instances run` for other types",
            )
        ]
    )


def _opened(session: Session, flow_id: UUID, asked: BackfillRequest, now: datetime) -> _Batch:
    """Find the unfinished backfill with the same parameters, or add a new one."""
    row = _newest(session, flow_id, asked, unfinished=True)
    if row is None:
        row = Backfill(
            id=uuid4(),
            flow_id=flow_id,
            start_date=asked.start,
            end_date=asked.end,
            chunk=asked.chunk.value,
            downstream=asked.downstream,
            created_at=now,
            finished_at=None,
        )
        session.add(row)
    return _Batch(row.id, flow_id, row.created_at)


def _newest(
    session: Session, flow_id: UUID, asked: BackfillRequest, *, unfinished: bool = False
) -> Backfill | None:
    return select_backfill(
        session,
        flow_id,
        asked.start,
        asked.end,
        asked.chunk,
        downstream=asked.downstream,
        unfinished=unfinished,
    )


def _finish(session: Session, batch_id: UUID, now: datetime) -> None:
    row = session.get(Backfill, batch_id)
    if row is not None:
        row.finished_at = now


def _read_piece(
    services: Services,
    instance: Named,
    batch: _Batch,
    piece: Piece,
    wait: Callable[[float], None],
) -> None:
    """Request the run of a piece, unless it is already requested, and wait until it is complete."""
    asked_at: datetime | None = None
    while (state := _state(services, batch, piece)) is not PieceState.DONE:
        if state is PieceState.OPEN:
            if asked_at is not None:
                raise NotBackfilled(instance.label, piece, _why(services, batch, asked_at))
            asked_at = services.now()
            services.ledger.ask(batch.flow_id, Cause.BACKFILL, piece.parameters)
            relay_or_leave(services)
        _still_active(services, instance, piece)
        wait(POLL_SECONDS)


def _state(services: Services, batch: _Batch, piece: Piece) -> PieceState:
    with services.database.read() as session:
        waiting = select_pending_parameters(session, batch.flow_id)
        runs = _asked_of(session, batch)
    return state_of(piece, waiting, runs)


def _asked_of(session: Session, batch: _Batch) -> list[tuple[RunStatus, RunParameters]]:
    """Read status and parameters of the runs since the backfill began."""
    found = select_outcomes_since(session, batch.flow_id, batch.begun)
    return [(status, parameters) for _, status, parameters in found]


def _runs(session: Session, batch: _Batch) -> Sequence[RunRecord]:
    """Read the runs of the flow since the backfill began, newest first."""
    return select_runs_since(session, batch.flow_id, batch.begun)


def _still_active(services: Services, instance: Named, piece: Piece) -> None:
    with services.database.read() as session:
        now = get_instance(session, str(instance.id))
    if now.lifecycle is not Lifecycle.ACTIVE:
        why = f"the instance is {now.lifecycle}"
        raise NotBackfilled(instance.label, piece, why)


def _why(services: Services, batch: _Batch, since: datetime) -> str:
    """Explain why the requested run did not complete."""
    with services.database.read() as session:
        for run in _runs(session, batch):
            if run.started_at >= since and run.status is not RunStatus.COMPLETED:
                return f"its run {run.status}: {run.error}" if run.error else f"{run.status}"
        flow = session.get_one(FlowExecutionResource, batch.flow_id)
        if flow.reason is Reason.DEFINITION_UNAVAILABLE:
            return flow.detail
    return "its run was dropped for another one"


def _ask_below(services: Services, batch: _Batch) -> None:
    """If anything changed, request runs of untriggered downstream flows, upstreams first."""
    with services.database.read() as session:
        if not published_any(session, [run.id for run in _runs(session, batch)]):
            return
        below = select_descendants(session, [batch.flow_id])
        by_itself = select_descendants(session, [batch.flow_id], triggered=True)
        order = topological_order(below - by_itself, select_pairs_into(session, below))
        # An interrupted backfill may have requested some of these runs.
        asked = select_flows_requested_since(session, order, Cause.BACKFILL, batch.begun)
    for flow_id in order:
        if flow_id not in asked:
            services.ledger.ask(flow_id, Cause.BACKFILL)
    relay_or_leave(services)


def read_progress(database: Database, reference: str, asked: BackfillRequest) -> Progress | None:
    """Read the progress of the newest backfill with these parameters; None if there is none."""
    listed = asked.pieces()
    with database.read() as session:
        instance = get_instance(session, reference)
        flow_id = _refresh_flow(session, instance)
        row = _newest(session, flow_id, asked)
        if row is None:
            return None
        runs = _asked_of(session, _Batch(row.id, flow_id, row.created_at))
    done = [piece for piece in listed if state_of(piece, None, runs) is PieceState.DONE]
    left = (piece for piece in listed if piece not in set(done))
    return Progress(instance, len(done), len(listed), next(left, None))


def _found(services: Services, batch: _Batch, listed: Sequence[Piece]) -> list[dict[str, Any]]:
    with services.database.read() as session:
        done = [
            (run, read_parameters(run.parameters))
            for run in _runs(session, batch)
            if run.status is RunStatus.COMPLETED
        ]
        return [
            _row(session, piece, next(r for r, asked in done if asked.covers(*astuple(piece))))
            for piece in listed
        ]


def _row(session: Session, piece: Piece, run: RunRecord) -> dict[str, Any]:
    """Describe the result of one piece; a published version has the id of its run."""
    version = session.get(DatasetVersion, run.id)
    first = version.changed_from if version else None
    return {
        "start": piece.start.isoformat(),
        "end": piece.end.isoformat(),
        "run": str(run.id),
        "generation": version.generation if version else None,
        "changed_from": first.isoformat() if first else None,
    }


def downstream(database: Database, reference: str) -> list[str]:
    """List the instance and everything downstream of it, as ``project/name``."""
    with database.read() as session:
        own = [flow.id for flow in flows_of(session, get_instance(session, reference).id)]
        ids = select_instance_ids(session, select_descendants(session, own))
        return [get_instance(session, str(id_)).label for id_ in ids]
