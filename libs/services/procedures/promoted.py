"""The first rows of a promoted signal: those that its dataset has stored, if they are the same."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import FlowKind, FlowStatus
from prefect_instances.libs.db.models import (
    DatasetInstance,
    DatasetVersion,
    FlowExecutionResource,
    SignalInstance,
)
from prefect_instances.libs.db.repositories.flows import select_consumed, select_flow
from prefect_instances.libs.services.composition.catalog import read_recorded_calls
from prefect_instances.libs.services.composition.components import find_loss, open_storage
from prefect_instances.libs.services.runs.run_context import Job

if TYPE_CHECKING:
    import polars as pl


def read_promoted(job: Job) -> pl.DataFrame | None:
    """Return the rows of the dataset that a signal was promoted from, instead of computing them.

    None if computing could give anything else: the run asks for something of its own, the signal
    has published before, or the dataset is not READY, was made by another pipeline, or read other
    versions of its upstreams.
    """
    if job.current is not None or job.replay or job.run.parameters != RunParameters():
        return None
    with job.services.database.read() as session:
        signal = session.get(SignalInstance, job.instance.id)
        if signal is None or signal.promoted_from_id is None:
            return None
        source = session.get(DatasetInstance, signal.promoted_from_id)
        flow = select_flow(session, signal.promoted_from_id, FlowKind.REFRESH) if source else None
        if source is None or flow is None or not _computes_same(session, signal, source):
            return None
        return _rows(job, session, flow) if _has_read_same(session, job, flow) else None


def _computes_same(session: Session, signal: SignalInstance, source: DatasetInstance) -> bool:
    """Return True if both have the same pipeline, configuration, and versions of what it calls."""
    same = (
        signal.definition_version_id == source.definition_version_id
        and signal.config_json == source.config_json
    )
    calls = [read_recorded_calls(session, one.pipeline_instance_id) for one in (signal, source)]
    return same and calls[0] == calls[1]


def _has_read_same(session: Session, job: Job, flow: FlowExecutionResource) -> bool:
    """Return True if the dataset is current and has read the versions that this run has pinned."""
    current = flow.status is FlowStatus.READY
    current = current and flow.consumed_config_version == flow.config_version
    pinned: dict[tuple[UUID, str], int] = {
        (pin.upstream, pin.role): pin.generation for pin in job.run.pins
    }
    return current and select_consumed(session, flow.id) == pinned


def _rows(job: Job, session: Session, flow: FlowExecutionResource) -> pl.DataFrame | None:
    version = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
    if version is None or find_loss(job.services, session, version):
        return None
    storage = open_storage(job.services, session, flow.instance_id)
    return storage.store.scan(version.location).collect()
