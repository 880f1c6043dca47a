"""Judge the guardrail contracts of a run and store the reports."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.definitions.guardrails import (
    Evidence,
    Gate,
    InputFacts,
    Report,
    judge,
)
from prefect_instances.libs.services.composition.create_guardrails import build_report_rows
from prefect_instances.libs.specs import spec_document

if TYPE_CHECKING:
    import polars as pl

    from prefect_instances.libs.services.runs.run_context import Job, PinnedInput


class GuardrailBlocked(PermanentError):
    """The output breaks a contract with mode block: correct the data, or change the contract.

    ``reports`` are the reports of all contracts judged at the gate; ``instance`` is the instance of
    the run.
    """

    def __init__(self, instance: Named, reports: Sequence[Report]) -> None:
        self.instance = instance
        self.reports = tuple(reports)
        blocking = "; ".join(str(report) for report in reports if report.blocks)
        super().__init__(f"blocked by a guardrail: {blocking}")


def guard(
    job: Job,
    gate: Gate,
    frame: pl.DataFrame | None = None,
    metrics: Mapping[str, object] | None = None,
    kept_rows: int = 0,
) -> list[Report]:
    """Judge what a run is about to read or write, and store the reports.

    ``frame`` holds the rows to write, ``kept_rows`` is the number of stored rows that stay before
    them. Raises GuardrailBlocked if a broken contract has mode block. A rerun has no contracts,
    because its original run was judged.
    """
    if all(contract.gate is not gate for contract in job.contracts):
        return []
    reports = judge(job.contracts, _evidence(job, gate, frame, metrics or {}, kept_rows))
    if reports:
        _store(job, reports)
    if any(report.blocks for report in reports):
        raise GuardrailBlocked(job.instance, reports)
    return reports


def _evidence(
    job: Job,
    gate: Gate,
    frame: pl.DataFrame | None,
    metrics: Mapping[str, object],
    kept_rows: int,
) -> Evidence:
    return Evidence(
        gate=gate,
        instance=job.instance.name,
        flow=job.kind,
        now=job.run.started_at if gate is Gate.START else job.services.now(),
        as_of=job.run.parameters.as_of,
        inputs=[_facts(item) for item in job.inputs],
        frame=frame,
        kept_rows=kept_rows,
        before=_before(job) if frame is not None and not kept_rows else None,
        metrics=metrics,
        configured=spec_document(job.spec),
    )


def _before(job: Job) -> Callable[[], pl.DataFrame] | None:
    """Return how to read the rows that a whole new version should still contain, or None.

    None if there is no version, if the configuration has changed, and if the run is as of a past
    day or accepts a loss.
    """
    current, storage, asked = job.current, job.opened.storage, job.run.parameters
    if current is None or storage is None or job.is_reconfigured:
        return None
    if asked.accept_loss or asked.as_of is not None:
        return None
    return lambda: storage.store.scan(current.location).collect()


def _facts(item: PinnedInput) -> InputFacts:
    is_model = item.flow_kind == FlowKind.TRAINING
    point_in_time = None if is_model else False
    if item.flow_kind == FlowKind.REFRESH:
        point_in_time = item.reader.accessor.answers_knowledge_time
    return InputFacts(
        resource=item.resource,
        role=item.role,
        columns=tuple(item.version.columns) if not is_model else None,
        last_date=item.version.max_date,
        point_in_time=point_in_time,
        frame=None if is_model else lambda: item.frame,
    )


def _store(job: Job, reports: Sequence[Report]) -> None:
    rows = build_report_rows(job.instance.id, job.run.id, reports, job.services.now())
    job.services.database.transact(lambda session: session.add_all(rows))


def tabulate_reports(reports: Iterable[Report]) -> list[dict[str, object]]:
    """Convert reports to a table for people."""
    return [
        {
            "contract": report.kind,
            "gate": report.gate.value,
            "mode": report.mode.value,
            "outcome": "kept" if report.passed else "BROKEN",
            "message": report.message,
        }
        for report in reports
    ]
