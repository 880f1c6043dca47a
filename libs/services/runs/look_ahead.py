"""The look-ahead certificate of a published version: audit it, and record the result.

The newest successful run is computed again on its recorded inputs, altered after random dates.
Nothing is published and no status changes; the result is a guardrail report on the run that made
the version.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import DataRejected, PermanentError
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import FlowKind, Mode
from prefect_instances.libs.db.models import DatasetVersion
from prefect_instances.libs.db.repositories.flows import select_flow
from prefect_instances.libs.db.repositories.resources import Named, get_instance
from prefect_instances.libs.db.repositories.runs import select_newest_success
from prefect_instances.libs.definitions.guardrails import Gate, GuardrailMode, Report
from prefect_instances.libs.definitions.look_ahead import Alteration, Audit, Leak, audit_output
from prefect_instances.libs.quant.calendar import Frequency
from prefect_instances.libs.services.composition.certificates import LOOK_AHEAD
from prefect_instances.libs.services.composition.components import VersionReader
from prefect_instances.libs.services.composition.create_guardrails import build_report_rows
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.runs.procedures import run_procedure
from prefect_instances.libs.services.runs.rerun import rebuild_job
from prefect_instances.libs.services.runs.run_context import Frame, Job, PinnedInput
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.specs import OptimizerSpec

if TYPE_CHECKING:
    import polars as pl

POINTS = 5
"""How many dates an audit draws."""

DECISIONS = frozenset({"primary", "secondary", "optimizer"})
"""Roles of a backtest's inputs that count from the next bar on."""


class NotAuditable(PermanentError):
    """Nothing can be altered or compared: audit an instance that has computed rows from others."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        super().__init__(f"{name} cannot be audited: {why}")


@dataclass(frozen=True, slots=True)
class Certificate:
    """The audit of one version of an instance's output; ``generation`` is the version's number.

    ``definition`` is the name of the definition that computes the output.
    """

    name: str
    generation: int
    definition: str
    audit: Audit

    def __repr__(self) -> str:
        """Return the result in one line, and the seed that repeats it."""
        return (
            f"{self.name} version {self.generation}: {self.audit.verdict} (seed {self.audit.seed})"
        )

    @property
    def passed(self) -> bool:
        """Return True if no look-ahead was found."""
        return self.audit.passed

    def document(self) -> dict[str, object]:
        """Convert the certificate to a JSON document; ``probes`` counts the comparisons made."""
        done = [one for one in self.audit.comparisons if not one.error]
        return {
            "instance": self.name,
            "generation": self.generation,
            "definition": self.definition,
            "leaks": [self._describe(how, leak) for how, leak in self.audit.differences],
            "probes": len(done),
            **self.audit.document(),
        }

    def _describe(self, how: str, leak: Leak) -> dict[str, object]:
        return {
            "definition": self.definition,
            "date": None if leak.date is None else str(leak.date),
            "symbol": leak.symbol,
            "how": f"{how}: {leak}",
        }


@dataclass(frozen=True)
class AlteredReader(VersionReader):
    """A reader that shows a stored version as if its later rows had been others."""

    alter: Callable[[pl.LazyFrame], pl.LazyFrame]

    def as_known(self, dates: pl.Series | None = None) -> pl.LazyFrame:
        """See ``VersionReader.as_known``."""
        return self.accessor.as_known(self.alter(self.store.scan(self.location)), dates)


def audit_instance(
    services: Services, name: str, *, seed: int | None = None, points: int = POINTS
) -> Certificate:
    """Audit the published output of an instance for look-ahead, and store the result with it.

    ``points`` is the number of random dates, ``seed`` the choice of them (None: another one each
    time). Raises NotFound for the name, NotAuditable where nothing is published or nothing is read,
    NotRepeatable and DefinitionUnavailable where the run cannot be repeated.
    """
    chosen = random.SystemRandom().getrandbits(31) if seed is None else seed
    with services.database.read() as session:
        named = get_instance(session, name)
        version, job = _open(services, session, named)
    if not _audited(job):
        raise NotAuditable(named.label, "it reads no rows of other instances")
    try:
        audit = audit_output(
            lambda how: _compute(job, how),
            _dates(job),
            chosen,
            points,
            by_period=_decides_by_period(job),
        )
    except DataRejected as error:
        raise NotAuditable(named.label, str(error)) from error
    certificate = Certificate(named.label, version.generation, _definition(job), audit)
    _record(services, named, version, job.run.config_version, certificate)
    return certificate


def _open(services: Services, session: Session, named: Named) -> tuple[DatasetVersion, Job]:
    """Return the published version, and the newest successful run as a job without a past."""
    flow = select_flow(session, named.id, SHAPES[named.type].output)
    run = select_newest_success(session, flow.id) if flow is not None else None
    if flow is None or flow.version_id is None or run is None:
        raise NotAuditable(named.label, "it has published nothing yet")
    version = session.get_one(DatasetVersion, flow.version_id)
    job = rebuild_job(services, session, run)
    whole = replace(job.run, parameters=RunParameters(mode=Mode.FULL))
    return version, replace(job, run=whole, current=None)


def _definition(job: Job) -> str:
    """Return the name of the main definition; that of the flow if the type has none."""
    main = TYPE_DESCRIPTIONS[job.spec.type].main
    return job.opened.main.name if main in job.opened.components else str(job.kind)


def _decides_by_period(job: Job) -> bool:
    """Return True for weights that are dated by the last bar of a week or month."""
    return isinstance(job.spec, OptimizerSpec) and Frequency(job.spec.rebalance) != Frequency.DAILY


def _audited(job: Job) -> list[PinnedInput]:
    """List the inputs that have rows: all but models."""
    return [item for item in job.inputs if item.flow_kind != FlowKind.TRAINING]


def _dates(job: Job) -> list[date]:
    """List the dates of all inputs, as the run reads them."""
    frames = [item.frame.select("date").unique().collect() for item in _audited(job)]
    return sorted({day for frame in frames for day in frame["date"].to_list()})


def _compute(job: Job, how: Alteration | None) -> pl.DataFrame:
    """Run the procedure on altered inputs and return its rows; raise DataRejected without any."""
    altered = job if how is None else replace(job, inputs=[_alter(x, job, how) for x in job.inputs])
    output = run_procedure(altered).output
    if not isinstance(output, Frame):
        raise DataRejected("its output has no rows")
    return output.rows


def _alter(item: PinnedInput, job: Job, how: Alteration) -> PinnedInput:
    if item.flow_kind == FlowKind.TRAINING:
        return item
    decided = job.kind == FlowKind.BACKTEST and item.role in DECISIONS
    timezone = getattr(item.reader.accessor.config, "timezone", "UTC")
    key = f"{item.role}/{item.resource}"

    def alter(rows: pl.LazyFrame) -> pl.LazyFrame:
        return how.apply(rows.collect(), key, decided=decided, timezone=timezone).lazy()

    reader = item.reader
    return replace(
        item, reader=AlteredReader(reader.accessor, reader.store, reader.location, alter)
    )


def _record(
    services: Services,
    named: Named,
    version: DatasetVersion,
    config_version: int,
    certificate: Certificate,
) -> None:
    """Store the certificate as a report on the run that made the version."""
    report = Report(
        gate=Gate.AUDIT,
        kind=LOOK_AHEAD,
        mode=GuardrailMode.WARN,
        passed=certificate.passed,
        message=certificate.audit.verdict,
        details={**certificate.document(), "config_version": config_version},
    )
    rows = build_report_rows(named.id, version.produced_by_run, [report], services.now())
    services.database.transact(lambda session: session.add_all(rows))
