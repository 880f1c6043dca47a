"""Repeating a run on what it read then, and comparing what comes of it. Nothing is published."""

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
from prefect_instances.libs.services.runs.procedures import procedure_of
from prefect_instances.libs.services.runs.run_context import (
    Added,
    Frame,
    Job,
    Result,
    pinned_inputs,
)
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import parse_spec

if TYPE_CHECKING:
    import polars as pl

SAMPLE = 5
"""How many differing rows a report shows."""


class NotRepeatable(PermanentError):
    """The run cannot be repeated as it was: run the instance anew instead."""

    def __init__(self, run_id: UUID, why: str) -> None:
        self.run_id, self.why = run_id, why
        super().__init__(f"run {run_id} cannot be repeated: {why}")


@dataclass(frozen=True, slots=True)
class Comparison:
    """How a repetition compares with the run: ``differences`` is empty where it is identical.

    ``compared`` is what was looked at: the ``output``, or the ``metrics`` of a run that has none.
    """

    run_id: UUID
    rerun_id: UUID
    instance: str
    kind: str
    identical: bool
    differences: Mapping[str, Any] = field(default_factory=dict)
    compared: str = "output"

    def document(self) -> dict[str, Any]:
        """The comparison as JSON."""
        return {
            "run": str(self.run_id),
            "rerun": str(self.rerun_id),
            "instance": self.instance,
            "flow_kind": self.kind,
            "compared": self.compared,
            "identical": self.identical,
            "differences": dict(self.differences),
        }


def rerun(services: Services, run_id: UUID, flow_run_id: UUID) -> Comparison:
    """Repeat a run on its recorded inputs, parameters and configuration, and compare.

    The repetition is a run of its own in the list, of cause ``rerun``; the instance's status and
    output stay as they are. Raises NotFound for an unknown run, NotRepeatable for one that did not
    complete or whose configuration is gone.
    """
    started = services.now()
    with services.database.read() as session:
        record = _record(session, run_id)
        job = _job_of(services, session, record)
        expected = _expected(session, record, job)
    result = procedure_of(job.kind)(job)
    has_output = result.output is not None and expected is not None
    differences = (
        _differences(services, result, expected)
        if has_output
        else compare_metrics(record.metrics, result.metrics)
    )
    comparison = Comparison(
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


def _job_of(services: Services, session: Session, record: RunRecord) -> Job:
    """Return the job as it was when the run started."""
    flow = session.get_one(FlowExecutionResource, record.flow_id)
    spec = parse_spec(_spec_then(session, record, flow.instance_id))
    opened = open_instance(services, flow.instance_id, flow.kind, spec)
    if opened.fault is not None:
        raise opened.fault
    columns = {column.key: getattr(record, column.key) for column in RunRecord.__table__.columns}
    run = read_run({key: columns[key] for key in read_run_fields()})
    base = select_output_before(session, record)
    inputs = pinned_inputs(services, session, opened, run)
    then = _flow_then(session, flow, base)
    return Job(services, opened, then, run, inputs, base, rehearsal=True)


def read_run_fields() -> tuple[str, ...]:
    """The columns that make a ``Run``."""
    from dataclasses import fields

    from prefect_instances.libs.core.records import Run

    return tuple(item.name for item in fields(Run))


def _spec_then(session: Session, record: RunRecord, instance_id: UUID) -> dict[str, Any]:
    """The configuration of the run."""
    then = select_version(session, instance_id, record.config_version)
    if then is None:
        raise NotRepeatable(record.id, "its configuration is not recorded")
    return then.spec_json


def _flow_then(
    session: Session, flow: FlowExecutionResource, base: DatasetVersion | None
) -> FlowExecutionResource:
    """The flow with what a procedure looks at as it was: its output and the configuration of it."""
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
    """The output to compare with: what the run published, or found unchanged; None: it has none."""
    version = session.get(DatasetVersion, record.output_version) if record.output_version else None
    return version or job.current


OF_THE_RUN = frozenset(
    {"rows", "seconds", "inputs_changed_from", "model_version", MLFLOW_RUN, EVIDENTLY_REPORT}
)
"""Metrics that say when and where a run was, not what it found."""


def compare_metrics(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics that differ, each as [before, after]; None where a side has not got it."""
    known, found = _jsonable(before), _jsonable(after)
    names = sorted((known.keys() | found.keys()) - OF_THE_RUN)
    pairs = ((name, known.get(name), found.get(name)) for name in names)
    # As texts: a NaN equals itself.
    return {name: [one, two] for name, one, two in pairs if json.dumps(one) != json.dumps(two)}


def _jsonable(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """As the database keeps them."""
    text = json.dumps(dict(metrics), sort_keys=True, default=str)
    return cast("dict[str, Any]", json.loads(text))


def _differences(
    services: Services, result: Result, expected: DatasetVersion | None
) -> dict[str, Any]:
    """What differs, in words and counts; empty where the output is bit for bit the same."""
    assert result.output is not None
    assert expected is not None
    assert not isinstance(result.output, Added), "a repeated run has no partial output"
    if not isinstance(result.output, Frame):
        same = result.output.digest == expected.content_hash
        return {} if same else {"digest": [expected.content_hash, result.output.digest]}
    from prefect_instances.libs.definitions.content import content_hash

    if content_hash(result.output.rows) == expected.content_hash:
        return {}
    return compare(read_version(services, expected.id).collect(), result.output.rows)


def compare(before: pl.DataFrame, after: pl.DataFrame) -> dict[str, Any]:
    """How two frames (date x symbol, long) differ: columns, and rows by their key."""
    from prefect_instances.libs.definitions.content import conform, key_columns

    before, after = conform(before), conform(after)
    columns = sorted(set(before.columns) ^ set(after.columns))
    keys = key_columns(before.columns)
    common = [column for column in before.columns if column in after.columns]
    gone = before.join(after, on=keys, how="anti", nulls_equal=True)
    new = after.join(before, on=keys, how="anti", nulls_equal=True)
    changed = (
        after.select(common)
        .join(before.select(common), on=common, how="anti", nulls_equal=True)
        .join(new.select(keys), on=keys, how="anti", nulls_equal=True)
    )
    return {
        "columns": columns,
        "rows_missing": gone.height,
        "rows_added": new.height,
        "rows_changed": changed.height,
        "sample": [_plain(row) for row in changed.head(SAMPLE).to_dicts()],
    }


def _plain(row: dict[str, Any]) -> dict[str, Any]:
    return {
        key: value if isinstance(value, int | float | str | None) else str(value)
        for key, value in row.items()
    }


def _note(
    services: Services,
    record: RunRecord,
    comparison: Comparison,
    flow_run_id: UUID,
    started: datetime,
) -> None:
    """Write the repetition down as a run that has ended; the flow's state is not touched."""
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
