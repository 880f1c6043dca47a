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

from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.records import Pin, Run
from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    Resource,
)
from prefect_instances.libs.db.repositories.resources import (
    Named,
    find_instance,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import select_pins_of_success_before
from prefect_instances.libs.db.repositories.versions import select_first_changes
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.guardrails import Contract
from prefect_instances.libs.definitions.pipeline import Input
from prefect_instances.libs.definitions.store import StoredVersion, StoreHandle
from prefect_instances.libs.services.composition.components import read_as_known
from prefect_instances.libs.services.composition.contracts import contracts_of
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Ask, Drift
from prefect_instances.libs.specs import ComponentSpec, InstanceSpec, ScheduleSpec, parse_spec

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
    ask: Ask | None
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
    services: Services
    advanced: bool = True
    changed_from: date | None = None

    @property
    def frame(self) -> pl.LazyFrame:
        """The rows (date x symbol, long, one column a field), each date as known at its end."""
        return read_as_known(self.services, self.version.id)

    def known_on(self, dates: pl.Series) -> pl.LazyFrame:
        """Read the rows to join to data of these dates; see ``Input.known_on``."""
        return read_as_known(self.services, self.version.id, dates)

    def as_input(self) -> Input:
        """Convert to the input that a pipeline receives."""
        return Input(self.resource, self.role, self.frame, self.known_on)


@dataclass(frozen=True, slots=True)
class Job:
    """Everything that a procedure needs.

    ``current`` is the published version, or None. ``contracts`` are the guardrail contracts that
    inputs and output must satisfy. In a ``replay`` (a rerun) nothing outside may change: the
    result is only compared.
    """

    services: Services
    instance: Named
    spec: InstanceSpec
    flow: FlowExecutionResource
    run: Run
    inputs: Sequence[PinnedInput]
    current: DatasetVersion | None
    contracts: Sequence[Contract] = ()
    replay: bool = False

    @property
    def kind(self) -> str:
        """The kind of flow that runs."""
        return self.flow.kind

    def component(self, role: str) -> ComponentSpec | None:
        """Return the spec that a component had at a run that is repeated; None: use the present."""
        return self.spec.components()[role] if self.replay else None

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


def load_spec(session: Session, instance_id: UUID) -> InstanceSpec:
    """Read the newest configuration of an instance; raise NotFound if the instance is gone."""
    version = select_newest_version(session, instance_id)
    if version is None:
        raise NotFound("instance", str(instance_id))
    return parse_spec(version.spec_json)


def build_job(services: Services, instance_id: UUID, run: Run) -> Job:
    """Build the job of a run that has started, from its pins and the published version."""
    with services.database.read() as session:
        flow = session.get_one(FlowExecutionResource, run.flow_id)
        instance = find_instance(session, str(instance_id))
        if instance is None:
            raise NotFound("instance", str(instance_id))
        current = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
        spec = load_spec(session, instance_id)
        inputs = load_pinned_inputs(services, session, run)
        contracts = contracts_of(session, services.registry, spec, instance_id, flow.kind)
    return Job(services, instance, spec, flow, run, inputs, current, contracts)


def load_pinned_inputs(services: Services, session: Session, run: Run) -> list[PinnedInput]:
    """Read the pinned inputs of a run; upstreams that had published nothing are left out."""
    consumed = _consumed_before(session, run)
    return [
        _pinned_input(services, session, pin, consumed.get(str(pin.edge_id), 0))
        for pin in run.pins
        if pin.version_id is not None
    ]


def _consumed_before(session: Session, run: Run) -> dict[str, int]:
    """Read the generation of each edge that the last success before a run read, by edge id."""
    pins = select_pins_of_success_before(session, run)
    return {pin["edge"]: pin["generation"] for pin in pins}


def _pinned_input(services: Services, session: Session, pin: Pin, consumed: int) -> PinnedInput:
    upstream = session.get_one(FlowExecutionResource, pin.upstream)
    return PinnedInput(
        resource=session.get_one(Resource, upstream.instance_id).name,
        role=pin.role,
        flow_kind=upstream.kind,
        instance_id=upstream.instance_id,
        version=session.get_one(DatasetVersion, pin.version_id),
        services=services,
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
