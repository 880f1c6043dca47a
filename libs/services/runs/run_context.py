"""The input and output of a run's computation: ``Job`` and ``Result``.

Each kind of flow has a *procedure* that computes: a function from a ``Job`` to a ``Result``, in a
module of ``libs.services.procedures``. ``execution`` does the rest, which is the same for all
kinds.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import TYPE_CHECKING, cast
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core.records import Pin, Run
from prefect_instances.libs.core.status import FlowKind, Mode
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    Resource,
)
from prefect_instances.libs.db.repositories.resources import Named
from prefect_instances.libs.db.repositories.runs import select_pins_of_success_before
from prefect_instances.libs.db.repositories.versions import select_first_changes
from prefect_instances.libs.definitions.external_job import ExternalJobs, UnrecordedJobs
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.guardrails import Contract
from prefect_instances.libs.definitions.pipeline import Input
from prefect_instances.libs.definitions.store import StoredVersion, StoreHandle
from prefect_instances.libs.services.composition.components import (
    VersionReader,
    find_loss,
    open_version,
)
from prefect_instances.libs.services.runs.external_jobs import RecordedJobs
from prefect_instances.libs.services.runs.opened import OpenedInstance, open_instance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Drift, RunWish
from prefect_instances.libs.specs import InstanceSpec, ScheduleSpec

if TYPE_CHECKING:
    import polars as pl


@dataclass(frozen=True, slots=True)
class Work:
    """The task of a Prefect flow run.

    ``opening_id`` is the opening to claim, or None; ``ask`` is the run request to make if there is
    no opening. ``slot`` is the time of the schedule's slot; None if the schedule did not start the
    run.
    """

    instance_id: UUID
    flow_run_id: UUID
    opening_id: UUID | None
    ask: RunWish | None
    slot: datetime | None = None
    kind: str = FlowKind.REFRESH


@dataclass(frozen=True, slots=True)
class PinnedInput:
    """The version that one upstream edge is pinned to, and its rows, read through the accessor.

    ``frame`` reads nothing before it is collected; it must not be collected for a version that is
    not a frame (a model). ``advanced`` is True if the last successful run read another version.
    ``changed_from`` is the first date that differs from that version; None if any date may differ.
    """

    resource: str
    role: str
    flow_kind: str
    instance_id: UUID
    version: DatasetVersion
    reader: VersionReader
    advanced: bool = True
    changed_from: date | None = None

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows: (date x symbol) long, one column a field; each date as known at its end."""
        return self.reader.as_known()

    def known_on(self, dates: pl.Series) -> pl.LazyFrame:
        """The rows to join to data of these dates; see ``Input.known_on``."""
        return self.reader.as_known(dates)

    def as_input(self) -> Input:
        """Convert to the input that a pipeline receives."""
        return Input(self.resource, self.role, self.frame, self.known_on)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a procedure needs.

    ``flow`` is the flow as it was when the run had started. In a ``replay`` nothing outside may
    change and no contract is judged: the result is compared and thrown away. ``lost`` says that the
    published output cannot be read and is made anew: ``current`` is None then. ``external_jobs``
    hands work to systems outside.
    """

    services: Services
    opened: OpenedInstance
    flow: FlowExecutionResource
    run: Run
    inputs: Sequence[PinnedInput]
    current: DatasetVersion | None
    replay: bool = False
    lost: bool = False
    external_jobs: ExternalJobs = field(default_factory=UnrecordedJobs)

    @property
    def instance(self) -> Named:
        """The instance that runs."""
        return self.opened.named

    @property
    def spec(self) -> InstanceSpec:
        """The configuration of the run."""
        return self.opened.spec

    @property
    def contracts(self) -> Sequence[Contract]:
        """The guardrail contracts of the inputs and the output; none for a rerun."""
        return () if self.replay else self.opened.contracts

    @property
    def is_reconfigured(self) -> bool:
        """True if the current version was made by another configuration."""
        return self.flow.consumed_config_version != self.run.config_version

    @property
    def kind(self) -> str:
        """The kind of flow that runs."""
        return self.flow.kind

    @property
    def schedule(self) -> ScheduleSpec:
        """The schedule of the flow."""
        return self.spec.schedule_of(self.kind, self.flow.schedule_json)


@dataclass(frozen=True, slots=True)
class Frame:
    """Rows to publish, and the store that they are written to."""

    rows: pl.DataFrame
    store: StoreHandle

    @property
    def newest(self) -> date | None:
        """The newest date of the rows; None if there are no rows or no dates."""
        if not self.rows.height or "date" not in self.rows.columns:
            return None
        return cast("date | None", self.rows["date"].max())


@dataclass(frozen=True, slots=True)
class Appended:
    """New rows to append, all later than the stored ones.

    Without rows the current version stays.
    """

    later: pl.DataFrame
    store: StoreHandle


@dataclass(frozen=True, slots=True)
class Stored:
    """An output that is not a frame and is already stored elsewhere.

    ``digest`` equals that of the published output if and only if both are the same. ``renewed``
    publishes the output even then, because the published one is lost.
    """

    version: StoredVersion
    digest: str
    columns: tuple[str, ...] = ()
    renewed: bool = False


@dataclass(frozen=True, slots=True)
class Result:
    """The outcome of a procedure.

    ``output`` is None if the published output stays current. ``frequency`` says how often the
    source has new data; None if lateness is not judged. ``drift`` is drift above its threshold.
    ``record`` writes more rows in the transaction that publishes. ``after`` runs after the
    publication: it is not run if the process dies before it, and its errors do not fail the run.
    ``blocked`` is called with the message of a guardrail that prevents the publication.
    """

    output: Frame | Appended | Stored | None
    metrics: Mapping[str, object] = field(default_factory=dict)
    pages: Sequence[Page] = ()
    frequency: str | None = None
    drift: Drift | None = None
    record: Callable[[Session], None] | None = None
    after: Callable[[], None] | None = None
    blocked: Callable[[str], None] | None = None


Procedure = Callable[[Job], Result]


def build_job(services: Services, opened: OpenedInstance, run: Run) -> Job:
    """Return the job of a run that has started: what it pinned, and what is published now.

    Where the configuration changed between loading and claim, the instance is loaded again.
    """
    if run.config_version != opened.config_version:
        opened = open_instance(services, opened.named.id, opened.flow.kind)
    if opened.fault is not None:
        raise opened.fault
    with services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, run.flow_id)
        current = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
        inputs = load_pinned_inputs(services, session, opened, run)
        lost = _is_lost(services, session, opened, run, current)
    jobs, kept = RecordedJobs(services, run), None if lost else current
    return Job(services, opened, flow, run, inputs, kept, lost=lost, external_jobs=jobs)


def _is_lost(
    services: Services,
    session: Session,
    opened: OpenedInstance,
    run: Run,
    current: DatasetVersion | None,
) -> bool:
    """Return True if the run makes everything anew and the published version cannot be read.

    Otherwise the loss is an error, which names the command for it. A training judges its model
    itself.
    """
    anew = run.parameters.mode is Mode.FULL or run.parameters.force
    if current is None or not anew or opened.flow.kind == FlowKind.TRAINING:
        return False
    return bool(find_loss(services, session, current, opened.storage))


def load_pinned_inputs(
    services: Services, session: Session, opened: OpenedInstance, run: Run
) -> list[PinnedInput]:
    """Return what a run reads; an upstream that had published nothing is left out."""
    consumed = _consumed_before(session, run)
    return [
        _pinned_input(services, session, opened, pin, consumed.get(str(pin.edge_id), 0))
        for pin in run.pins
        if pin.version_id is not None
    ]


def _consumed_before(session: Session, run: Run) -> dict[str, int]:
    """Read the generation of each edge that the last success before a run read, by edge id."""
    pins = select_pins_of_success_before(session, run)
    return {pin["edge"]: pin["generation"] for pin in pins}


def _pinned_input(
    services: Services, session: Session, opened: OpenedInstance, pin: Pin, consumed: int
) -> PinnedInput:
    upstream = session.get_one(FlowExecutionResource, pin.upstream)
    version = session.get_one(DatasetVersion, pin.version_id)
    storage = opened.upstreams.get(upstream.instance_id)
    return PinnedInput(
        resource=session.get_one(Resource, upstream.instance_id).name,
        role=pin.role,
        flow_kind=upstream.kind,
        instance_id=upstream.instance_id,
        version=version,
        reader=open_version(services, session, version, storage),
        advanced=pin.generation != consumed,
        changed_from=_changed_from(session, pin, consumed),
    )


def _changed_from(session: Session, pin: Pin, consumed: int) -> date | None:
    """Return the first date changed after the consumed generation; None if any may differ."""
    dates = (
        select_first_changes(session, pin.upstream, consumed, pin.generation) if consumed else []
    )
    known = [day for day in dates if day is not None]
    return min(known, default=None) if len(known) == len(dates) else None


def inputs_changed_from(inputs: Sequence[PinnedInput]) -> date | None:
    """Return the first date at which any input differs from what the run before read.

    ``date.min`` if any date may differ, None if no input has advanced.
    """
    advanced = [item.changed_from or date.min for item in inputs if item.advanced]
    return min(advanced, default=None)
