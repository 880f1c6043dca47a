"""Compare Prefect's flow runs with the runs on record; end what is dead on either side."""

from __future__ import annotations

import logging
import time
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from uuid import UUID

from prefect_instances.libs.adapters.prefect import RunState, RunView
from prefect_instances.libs.core.errors import Interrupted
from prefect_instances.libs.core.ids import EXECUTION_TAG
from prefect_instances.libs.core.pairing import (
    RETRY_SECONDS,
    There,
    Verdict,
    decide,
    lease_is_over,
)
from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.repositories.marks import read_swept
from prefect_instances.libs.db.repositories.resources import select_ids
from prefect_instances.libs.db.repositories.runs import select_leases
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.services.state.run_recovery import BAD_STATES, end_as_there, record_end

_log = logging.getLogger("instances.pairs")

SILENT = "its process gave no sign of life"

GRACE_SECONDS = 2 * RETRY_SECONDS
"""Seconds for which the database must take writes before a silent run counts as dead."""

STATE_OF_STATUS: Mapping[RunStatus, RunState] = {
    RunStatus.COMPLETED: RunState.COMPLETED,
    **{status: state for state, status in BAD_STATES.items()},
}
"""Prefect's state for each way in which a run on record has ended."""


@dataclass(frozen=True, slots=True)
class Record:
    """The fields of a run on record that the decision needs."""

    id: UUID
    flow_run_id: UUID
    status: RunStatus
    lease_until: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True, slots=True)
class Pair:
    """One flow run on both sides.

    ``view`` is None if Prefect does not have the flow run, ``record`` is None if no run is on
    record.
    """

    flow_run_id: UUID
    view: RunView | None
    record: Record | None


def end_dead_runs(services: Services, failures: Failures) -> int:
    """End the runs that are dead in Prefect or in the database, and return their number.

    ``libs.core.pairing`` decides. A failure of one pair does not stop the others. Flow runs of
    other databases are left alone.
    """
    with services.database.read() as session:
        swept_at = read_swept(session)
    ended, pairs = 0, _pairs(services)
    if any(_runs_silently(services, pair, swept_at) for pair in pairs):
        # Nobody may have been able to write until now: a process tries again once a second.
        services.database.transact(lambda _: None)  # waits until it takes writes
        time.sleep(GRACE_SECONDS)
        pairs = _pairs(services)
    for pair in pairs:
        with failures.item(f"flow run {pair.flow_run_id}"):
            ended += _act(services, pair, _verdict(services, pair, swept_at))
    return ended


def _runs_silently(services: Services, pair: Pair, swept_at: datetime | None) -> bool:
    running = pair.record is not None and pair.record.status is RunStatus.RUNNING
    return running and _is_silent(services, pair, swept_at)


def find_dead_runs(services: Services) -> list[tuple[Pair, Verdict]]:
    """List the runs that ``end_dead_runs`` would end, and how; nothing is changed."""
    with services.database.read() as session:
        swept_at = read_swept(session)
    judged = [(pair, _verdict(services, pair, swept_at)) for pair in _pairs(services)]
    passive = (Verdict.LEAVE, Verdict.START_AGAIN)
    return [(pair, verdict) for pair, verdict in judged if verdict not in passive]


def _pairs(services: Services) -> list[Pair]:
    """Pair the flow runs that were picked up with the runs that are RUNNING here."""
    running = _records(services)
    started = {view.id: view for view in _ours(services)}
    rest = [run_id for run_id in running if run_id not in started]
    views = {**started, **services.prefect.read_runs(rest)}
    # Again, and last: a run ends here before it ends in Prefect, so that one which ends while we
    # look is seen to have ended here too.
    records = _records(services, list({**running, **started}))
    return [Pair(id_, views.get(id_), records.get(id_)) for id_ in {**records, **views}]


def _ours(services: Services) -> Iterable[RunView]:
    """Read the started flow runs of instances of this database."""
    with services.database.read() as session:
        instances = {f"instance:{id_}" for id_ in select_ids(session)}
    started = services.prefect.list_started_runs(EXECUTION_TAG)
    return [view for view in started if not instances.isdisjoint(view.tags)]


def _records(
    services: Services, flow_run_ids: Collection[UUID] | None = None
) -> dict[UUID, Record]:
    """Read the runs on record of these flow runs, by flow run id; None: the RUNNING ones."""
    with services.database.read() as session:
        return {row[1]: Record(*row) for row in select_leases(session, flow_run_ids)}


def _verdict(services: Services, pair: Pair, swept_at: datetime | None) -> Verdict:
    there = There(pair.view.state) if pair.view else There.ABSENT
    status = pair.record.status if pair.record else None
    return decide(there, status, silent=_is_silent(services, pair, swept_at))


def _is_silent(services: Services, pair: Pair, swept_at: datetime | None) -> bool:
    now, settings = services.now(), services.settings
    if pair.record is not None and pair.record.status is RunStatus.RUNNING:
        usual = timedelta(seconds=settings.sweep_seconds)
        return lease_is_over(pair.record.lease_until, now, swept_at, usual)
    changed = [pair.view.since if pair.view else None]
    changed.append(pair.record.ended_at if pair.record else None)
    latest = max((moment for moment in changed if moment), default=now)
    return now - latest > timedelta(seconds=settings.begin_seconds)


def _act(services: Services, pair: Pair, verdict: Verdict) -> bool:
    """Carry out a verdict; return False if nothing ended."""
    match verdict:
        case Verdict.CRASH_THERE:
            return services.prefect.crash_run(pair.flow_run_id, f"{SILENT} before it began")
        case Verdict.END_THERE:
            return _end_there(services, pair)
        case Verdict.CRASH_HERE | Verdict.CRASH_BOTH:
            return _crash_here(services, pair, verdict)
        case Verdict.END_HERE:
            assert pair.record is not None
            assert pair.view is not None
            end_as_there(services, pair.record.id, pair.view)
            return True
        case Verdict.LEAVE | Verdict.START_AGAIN:
            return False


def _end_there(services: Services, pair: Pair) -> bool:
    assert pair.record is not None
    state = STATE_OF_STATUS[pair.record.status]
    message = f"it ended as {pair.record.status}; its process died before it told Prefect"
    return services.prefect.finish_run(pair.flow_run_id, state, message)


def _crash_here(services: Services, pair: Pair, verdict: Verdict) -> bool:
    assert pair.record is not None
    over = pair.view is not None and pair.view.ended
    message = "its flow run is over in Prefect and published nothing" if over else SILENT
    try:
        record_end(services, pair.record.id, RunStatus.CRASHED, message, silent=not over)
    except Interrupted as lost:
        _log.info("%s", lost)
        return False
    if verdict is Verdict.CRASH_BOTH:
        # Our record comes first: the crash makes Prefect start aggregate-status for this run.
        services.prefect.crash_run(pair.flow_run_id, message)
    return True
