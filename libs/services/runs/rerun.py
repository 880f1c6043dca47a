"""Repeat a run on its recorded inputs and compare the results; nothing is published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Any, cast
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.core.status import Cause, RunStatus
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    RunRecord,
)
from prefect_instances.libs.db.repositories.region import read_run
from prefect_instances.libs.db.repositories.runs import select_run
from prefect_instances.libs.db.repositories.versions import select_output_before, select_version
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.rendering.links import EVIDENTLY_REPORT, MLFLOW_RUN
from prefect_instances.libs.services.runs.opened import open_instance
from prefect_instances.libs.services.runs.procedures import run_procedure
from prefect_instances.libs.services.runs.run_context import (
    Appended,
    Frame,
    Job,
    Result,
    load_pinned_inputs,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import parse_spec

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 5
"""How many changed rows a comparison shows."""


class NotRepeatable(PermanentError):
    """The run cannot be repeated as it was: start a new run of the instance instead."""

    def __init__(self, run_id: UUID, why: str) -> None:
        self.run_id, self.why = run_id, why
        super().__init__(f"run {run_id} cannot be repeated: {why}")


@dataclass(frozen=True, slots=True)
class RerunComparison:
    """The comparison of a rerun with its original run.

    ``differences`` is empty if they are identical. ``compared`` is ``output``, or ``metrics`` for a
    run without an output.
    """

    run_id: UUID
    rerun_id: UUID
    instance: str
    kind: str
    identical: bool
    differences: Mapping[str, Any] = field(default_factory=dict)
    compared: str = "output"

    def document(self) -> dict[str, Any]:
        """Convert the comparison to a JSON document."""
        return {
            "run": str(self.run_id),
            "rerun": str(self.rerun_id),
            "instance": self.instance,
            "flow_kind": self.kind,
            "compared": self.compared,
            "identical": self.identical,
            "differences": dict(self.differences),
        }


def rerun(services: Services, run_id: UUID, flow_run_id: UUID) -> RerunComparison:
    """Repeat a run with its recorded inputs, parameters and configuration, and compare.

    The rerun is recorded as a run with the cause ``rerun``; status and output of the instance do
    not change. Raises NotFound for an unknown run, NotRepeatable for a run that did not complete or
    whose configuration is gone.
    """
    started = services.now()
    with services.database.read() as session:
        record = _record(session, run_id)
        job = rebuild_job(services, session, record)
        expected = _expected(session, record, job)
    result = run_procedure(job)
    has_output = result.output is not None and expected is not None
    differences = (
        _differences(services, result, expected)
        if has_output
        else compare_metrics(record.metrics, result.metrics)
    )
    comparison = RerunComparison(
        run_id=record.id,
        rerun_id=uuid4(),
        instance=job.instance.label,
        kind=job.kind,
        identical=not differences,
        differences=differences,
        compared="output" if has_output else "metrics",
    )
    _note(services, record, comparison, flow_run_id, started)
    return comparison


def _record(session: Session, run_id: UUID) -> RunRecord:
    record = select_run(session, run_id)
    if record is None:
        raise NotFound("run", str(run_id))
    if record.status is not RunStatus.COMPLETED:
        raise NotRepeatable(record.id, f"it is {record.status} and has no output")
    return record


def rebuild_job(services: Services, session: Session, record: RunRecord) -> Job:
    """Return the job as it was when the run started, to be replayed.

    Raises NotRepeatable if its configuration is gone, DefinitionUnavailable if a definition is.
    """
    flow = session.get_one(FlowExecutionResource, record.flow_id)
    spec = parse_spec(_spec_then(session, record, flow.instance_id))
    opened = open_instance(services, flow.instance_id, flow.kind, spec)
    if opened.fault is not None:
        raise opened.fault
    columns = {column.key: getattr(record, column.key) for column in RunRecord.__table__.columns}
    run = read_run({key: columns[key] for key in read_run_fields()})
    base = select_output_before(session, record)
    inputs = load_pinned_inputs(services, session, opened, run)
    then = _flow_then(session, flow, base)
    return Job(services, opened, then, run, inputs, base, replay=True)


def read_run_fields() -> tuple[str, ...]:
    """List the columns from which a ``Run`` is built."""
    from dataclasses import fields

    from prefect_instances.libs.core.records import Run

    return tuple(item.name for item in fields(Run))


def _spec_then(session: Session, record: RunRecord, instance_id: UUID) -> dict[str, Any]:
    """Read the configuration that the run used."""
    then = select_version(session, instance_id, record.config_version)
    if then is None:
        raise NotRepeatable(record.id, "its configuration is not recorded")
    return then.spec_json


def _flow_then(
    session: Session, flow: FlowExecutionResource, base: DatasetVersion | None
) -> FlowExecutionResource:
    """Return the flow as procedures saw it then: its output, and that output's configuration."""
    maker = session.get(RunRecord, base.produced_by_run) if base else None
    return FlowExecutionResource(
        id=flow.id,
        instance_id=flow.instance_id,
        kind=flow.kind,
        generation=base.generation if base else 0,
        version_id=base.id if base else None,
        content_hash=base.content_hash if base else "",
        config_version=flow.config_version,
        consumed_config_version=maker.config_version if maker else 0,
        last_data_date=base.max_date if base else None,
    )


def _expected(session: Session, record: RunRecord, job: Job) -> DatasetVersion | None:
    """Return the version that the run published or found unchanged; None if there is none."""
    version = session.get(DatasetVersion, record.output_version) if record.output_version else None
    return version or job.current


OF_THE_RUN = frozenset(
    {"rows", "seconds", "inputs_changed_from", "model_version", MLFLOW_RUN, EVIDENTLY_REPORT}
)
"""Metrics that describe when and where a run took place, not its result."""


def compare_metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """Return the metrics that differ, as [before, after]; None for a missing value."""
    known, found = _jsonable(before), _jsonable(after)
    names = sorted((known.keys() | found.keys()) - OF_THE_RUN)
    pairs = ((name, known.get(name), found.get(name)) for name in names)
    # Compare texts, in which NaN equals NaN.
    return {name: [one, two] for name, one, two in pairs if json.dumps(one) != json.dumps(two)}


def _jsonable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Convert metrics to the values that the database returns."""
    text = json.dumps(dict(metrics), sort_keys=True, default=str)
    return cast("dict[str, Any]", json.loads(text))


def _differences(
    services: Services, result: Result, expected: DatasetVersion | None
) -> dict[str, Any]:
    """Describe how the outputs differ; empty if they are identical, bit for bit."""
    assert result.output is not None
    assert expected is not None
    assert not isinstance(result.output, Appended), "a repeated run has no partial output"
    if not isinstance(result.output, Frame):
        same = result.output.digest == expected.content_hash
        return {} if same else {"digest": [expected.content_hash, result.output.digest]}
    from prefect_instances.libs.definitions.content import content_hash

    if content_hash(result.output.rows) == expected.content_hash:
        return {}
    return compare_frames(read_version(services, expected.id).collect(), result.output.rows)


def compare_frames(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Any]:
    """Compare two frames (date x symbol, long): columns, and rows by their key."""
    from prefect_instances.libs.definitions.row_changes import find_row_changes

    found = find_row_changes(before, after)
    return {
        "columns": sorted({*found.columns_added, *found.columns_removed}),
        "rows_missing": found.removed.height,
        "rows_added": found.added.height,
        "rows_changed": found.pairs.height,
        "sample": [_plain(row) for row in found.later_rows.head(SAMPLE).to_dicts()],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, int | float | str | None) else str(value)
        for key, value in row.items()
    }


def _note(
    services: Services,
    record: RunRecord,
    comparison: RerunComparison,
    flow_run_id: UUID,
    started: datetime,
) -> None:
    """Record the rerun as a run that has ended; the state of the flow does not change."""
    metrics = {
        "rerun_of": str(record.id),
        "compared": comparison.compared,
        "identical": comparison.identical,
    }
    row = RunRecord(
        id=comparison.rerun_id,
        type=record.type,
        flow_id=record.flow_id,
        prefect_flow_run_id=flow_run_id,
        status=RunStatus.COMPLETED,
        cause=Cause.RERUN,
        config_version=record.config_version,
        started_at=started,
        ended_at=services.now(),
        pins=record.pins,
        parameters=record.parameters,
        retries=0,
        output_version=None,
        metrics={**metrics, "differences": dict(comparison.differences)},
        artifacts=[],
        error="",
    )
    services.database.transact(lambda session: session.merge(row))
