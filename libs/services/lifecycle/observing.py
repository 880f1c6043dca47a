"""Observe the records of instances and their counterparts in other systems, for reconciling.

Prefect is read page by page, block documents by their ids, and only runs that are RUNNING here are
looked up, so the work is bounded by the number of instances.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.prefect import (
    AutomationPlan,
    DeploymentPlan,
    DeploymentView,
    list_deployment_edits,
)
from prefect_instances.libs.core.divergence import (
    Observation,
    RecordedInstance,
    SeenAutomation,
    SeenDeployment,
    SeenDocument,
    SeenRun,
)
from prefect_instances.libs.core.errors import TemporaryError
from prefect_instances.libs.core.ids import EXECUTION_TAG
from prefect_instances.libs.core.status import Lifecycle
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.resources import (
    EXTENSIONS,
    Named,
    flows_of,
    select_instances,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import select_running
from prefect_instances.libs.services.composition.instance_types import TYPE_DESCRIPTIONS
from prefect_instances.libs.services.lifecycle.automations import (
    AGGREGATE_STATUS,
    START_FLOW,
    plan_recovery,
)
from prefect_instances.libs.services.lifecycle.exporting import sort_by_lineage
from prefect_instances.libs.services.lifecycle.lifecycle_flows import LIFECYCLE_TAG
from prefect_instances.libs.services.lifecycle.lost_outputs import find_lost_outputs
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures
from prefect_instances.libs.specs import InstanceSpec, parse_spec, read_spec, spec_document

SETTLED = frozenset({Lifecycle.ACTIVE, Lifecycle.PAUSED})


@dataclass(frozen=True)
class Sight:
    """Both sides of the comparison; ``unseen`` says what could not be observed, and why."""

    recorded: tuple[RecordedInstance, ...]
    world: Observation
    plans: Mapping[str, AutomationPlan]
    unseen: tuple[str, ...]


@dataclass(slots=True)
class _Handles:
    """External resources that are missing, and systems that did not answer."""

    absent: set[tuple[UUID, str]] = field(default_factory=set)
    unseen: dict[str, str] = field(default_factory=dict)


PlanOf = Callable[[UUID, InstanceSpec, str], DeploymentPlan]
"""Returns the required deployment of a flow: of an instance id, its spec and a flow kind."""


def observe(services: Services, plan_of: PlanOf, lifecycle: Sequence[DeploymentPlan] = ()) -> Sight:
    """Read what the database records and what Prefect, MLflow and Evidently hold.

    ``lifecycle`` are the required deployments of the lifecycle flows. Raises Unavailable if Prefect
    or the database does not answer.
    """
    views = services.prefect.list_deployments_tagged(EXECUTION_TAG)
    with services.database.read() as session:
        named = sort_by_lineage(session, select_instances(session))
        settled = [one for one in named if is_settled(session.get_one(Resource, one.id))]
        recorded = tuple(_recorded(session, one) for one in settled)
        rows = {one.id: _handle_rows(session, one) for one in settled}
        running = _running(session, settled)
    failures = Failures()
    handles = _look_at_handles(services, settled, rows, failures)
    lost = find_lost_outputs(services, settled, handles.unseen, failures)
    plans = _automation_plans(services)
    absent, stale = _lifecycle(services, lifecycle)
    world = Observation(
        known=frozenset(one.id for one in named),
        deployments=tuple(_deployments(services, recorded, views, plan_of, failures)),
        documents=_documents(services, recorded, {one.id: one.type for one in settled}),
        absent_externals=frozenset(handles.absent),
        lost_outputs=lost,
        automations=tuple(_automation(services, plan) for plan in plans),
        runs=tuple(_ended(services, running)),
        absent_lifecycle=absent,
        stale_lifecycle=stale,
    )
    by_name = {plan.name: plan for plan in plans}
    return Sight(recorded, world, by_name, (*handles.unseen.values(), *failures.lines))


def is_settled(resource: Resource) -> bool:
    """Return True if no flow run is changing the instance, and none died while changing it."""
    return resource.lifecycle in SETTLED and resource.condition is None


def _recorded(session: Session, named: Named) -> RecordedInstance:
    version = select_newest_version(session, named.id)
    extension = session.get_one(EXTENSIONS[named.type], named.id)
    return RecordedInstance(
        id=named.id,
        label=named.label,
        document=version.spec_json if version else {},
        document_id=extension.block_document_id,
        deployments={flow.kind: flow.deployment_id for flow in flows_of(session, named.id)},
        externals=tuple(external.name for external in TYPE_DESCRIPTIONS[named.type].externals),
    )


def recorded_deployments(database: Database) -> dict[str, UUID | None]:
    """Read the deployment of every flow of the active instances, by ``project/name.kind``."""
    with database.read() as session:
        return {
            f"{named.label}.{flow.kind}": flow.deployment_id
            for named in select_instances(session)
            if session.get_one(Resource, named.id).lifecycle is Lifecycle.ACTIVE
            for flow in flows_of(session, named.id)
        }


def _handle_rows(session: Session, named: Named) -> dict[str, dict[str, Any]]:
    extension = session.get_one(EXTENSIONS[named.type], named.id)
    return {
        external.name: {column: getattr(extension, column) for column in external.columns}
        for external in TYPE_DESCRIPTIONS[named.type].externals
    }


def _look_at_handles(
    services: Services,
    settled: Iterable[Named],
    rows: Mapping[UUID, Mapping[str, Any]],
    failures: Failures,
) -> _Handles:
    """Check external resources; a system that does not answer hides only its own."""
    found = _Handles()
    for named in settled:
        for external in TYPE_DESCRIPTIONS[named.type].externals:
            if external.name in found.unseen:
                continue
            try:
                if not external.present(services, named, rows[named.id][external.name]):
                    found.absent.add((named.id, external.name))
            except TemporaryError as error:
                found.unseen[external.name] = f"{external.name} was not looked at: {error}"
            except Exception as error:  # noqa: BLE001 - one instance must not hide the others
                failures.note(f"{external.name} of {named.label}", error)
    return found


def _deployments(
    services: Services,
    recorded: Iterable[RecordedInstance],
    tagged: Iterable[DeploymentView],
    plan_of: PlanOf,
    failures: Failures,
) -> Iterable[SeenDeployment]:
    """Yield the deployments that have our tag, and recorded ones that lost it."""
    owners = {id_: (one, kind) for one in recorded for kind, id_ in one.deployments.items() if id_}
    views = {view.id: view for view in tagged}
    for id_ in owners.keys() - views.keys():
        view = services.prefect.find_deployment(id_)
        if view is not None:
            views[id_] = view
    specs: dict[UUID, InstanceSpec] = {}
    for view in views.values():
        if view.id not in owners:
            yield _stranger(view)
            continue
        one, kind = owners[view.id]
        edits: tuple[str, ...] = ()
        with failures.item(f"deployment {view.full_name}"):
            if one.id not in specs:
                specs[one.id] = parse_spec(one.document)
            edits = list_deployment_edits(plan_of(one.id, specs[one.id], kind), view)
        yield SeenDeployment(view.id, view.full_name, one.id, kind, edits)


def _stranger(view: DeploymentView) -> SeenDeployment:
    labels = dict(tag.split(":", 1) for tag in view.tags if ":" in tag)
    try:
        instance_id = UUID(labels.get("instance", ""))
    except ValueError:
        instance_id = None
    return SeenDeployment(view.id, view.full_name, instance_id, labels.get("flow-kind", ""))


def _documents(
    services: Services, recorded: Iterable[RecordedInstance], types: Mapping[UUID, str]
) -> dict[UUID, SeenDocument]:
    owners = {one.document_id: one.id for one in recorded if one.document_id}
    stored = services.prefect.read_block_documents(owners)
    return {id_: read_document(data, types[owners[id_]]) for id_, data in stored.items()}


def read_document(data: Mapping[str, Any], type_: str) -> SeenDocument:
    """Convert the content of a block document to the form of the records."""
    own = {key: value for key, value in data.items() if key != "block_type_slug"}
    spec, problems = read_spec({**own, "type": type_})
    if spec is None or problems:
        return SeenDocument(None, "; ".join(map(str, problems)))
    return SeenDocument(spec_document(spec))


def _lifecycle(
    services: Services, planned: Sequence[DeploymentPlan]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the names of missing lifecycle deployments, and of those no longer planned."""
    if not planned:
        return (), ()
    tagged = {view.full_name for view in services.prefect.list_deployments_tagged(LIFECYCLE_TAG)}
    names = [plan.full_name for plan in planned]
    untagged = [name for name in names if name not in tagged]
    absent = [one for one in untagged if services.prefect.find_deployment_by_name(one) is None]
    return tuple(absent), tuple(sorted(tagged.difference(names)))


def _automation_plans(services: Services) -> list[AutomationPlan]:
    """Return our automations; the second one only if its deployment exists."""
    account = services.prefect.find_deployment_by_name(AGGREGATE_STATUS)
    return [START_FLOW] if account is None else [START_FLOW, plan_recovery(account.id)]


def _automation(services: Services, plan: AutomationPlan) -> SeenAutomation:
    view = services.prefect.find_automation(plan)
    if view is None:
        return SeenAutomation(plan.name, present=False, enabled=False)
    return SeenAutomation(plan.name, present=True, enabled=view.enabled, differing=view.differing)


@dataclass(frozen=True, slots=True)
class _Running:
    run_id: UUID
    flow_run_id: UUID
    named: Named
    kind: str


def _running(session: Session, settled: Iterable[Named]) -> list[_Running]:
    by_id = {one.id: one for one in settled}
    return [
        _Running(run_id, flow_run_id, by_id[instance_id], kind)
        for run_id, flow_run_id, instance_id, kind in select_running(session)
        if instance_id in by_id
    ]


def _ended(services: Services, running: Iterable[_Running]) -> Iterable[SeenRun]:
    """Yield runs that have ended in Prefect; the lease ends those that Prefect does not know."""
    wanted = list(running)
    views = services.prefect.read_runs([one.flow_run_id for one in wanted])
    with services.database.read() as session:
        # A run ends here before it ends in Prefect: it may have ended between the two looks.
        still = {run_id for run_id, *_ in select_running(session)}
    for one in wanted:
        view = views.get(one.flow_run_id)
        if view is not None and view.ended and one.run_id in still:
            yield SeenRun(
                one.run_id, one.named.id, one.named.label, one.kind, view.state, view.message
            )
