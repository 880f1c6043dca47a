"""Read models of instances, flows, lineage and runs.

All are JSON-serialisable documents; times are ISO 8601 with offset.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy.orm import Session

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.core.gate import Blocker
from prefect_instances.libs.core.records import FlowState
from prefect_instances.libs.core.shapes import SHAPES
from prefect_instances.libs.core.status import MESSAGES, FlowStatus, Freshness, Reason
from prefect_instances.libs.core.unit_of_work import Draft
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import (
    GuardrailReport,
    Resource,
    ResourceVersion,
    RunRecord,
)
from prefect_instances.libs.db.repositories.flows import select_edges, select_flow_ids, select_nodes
from prefect_instances.libs.db.repositories.openings import has_pending_request
from prefect_instances.libs.db.repositories.region import (
    load_region,
    select_ancestors,
    select_descendants,
)
from prefect_instances.libs.db.repositories.resources import (
    COMPONENTS,
    EXTENSIONS,
    Named,
    flows_of,
    get_instance,
    select_conditions,
    select_instances,
    select_newest_version,
)
from prefect_instances.libs.db.repositories.runs import (
    select_guardrail_reports_of_creation,
    select_guardrail_reports_of_run,
    select_run_and_owner,
    select_runs_of_instance,
)
from prefect_instances.libs.db.repositories.versions import select_current_output
from prefect_instances.libs.services.composition.catalog import read_recorded_calls

Document = dict[str, Any]


def status(
    database: Database, now: datetime, name: str | None = None, project: str | None = None
) -> Document:
    """Report every instance with its flows, or one, as ``instances status --json`` shows it."""
    with database.read() as session:
        chosen = _chosen(session, name, project)
        draft = _draft(session, [named.id for named in chosen], now)
        conditions = select_conditions(session, [named.id for named in chosen])
    flows = _by_instance(draft)
    return {"instances": [_instance(draft, named, flows, conditions, now) for named in chosen]}


def _chosen(session: Session, name: str | None, project: str | None) -> list[Named]:
    if name is not None:
        return [get_instance(session, name, project)]
    return [
        named
        for named in select_instances(session)
        if project is None or named.project.lower() == project.lower()
    ]


def _draft(session: Session, instance_ids: Collection[UUID], now: datetime) -> Draft:
    """Load the flows of some instances and everything on which their gates depend."""
    return Draft(load_region(session, select_flow_ids(session, instance_ids)), now)


def _by_instance(draft: Draft) -> Mapping[UUID, Sequence[FlowState]]:
    """Group the flows by instance, ordered by kind."""
    grouped: dict[UUID, list[FlowState]] = defaultdict(list)
    for flow in sorted(draft.flows.values(), key=lambda flow: flow.kind):
        grouped[flow.instance_id].append(flow)
    return grouped


def _instance(
    draft: Draft,
    named: Named,
    flows_of: Mapping[UUID, Sequence[FlowState]],
    conditions: Mapping[UUID, Document],
    now: datetime,
) -> Document:
    flows = flows_of.get(named.id, ())
    state = draft.instances.get(named.id)
    overall = state.status if state else FlowStatus.NOT_INITIALIZED
    worst = next((f for f in flows if f.aggregated and f.status is overall), None)
    condition = conditions.get(named.id)
    return {
        "id": str(named.id),
        "name": named.name,
        "project": named.project,
        "type": named.type,
        "lifecycle": named.lifecycle.value,
        "status": overall.value,
        "reason": worst.reason.value if worst else None,
        "message": describe_status(worst) if worst else "",
        "condition": condition,
        "freshness": derive_freshness(worst, now).value if worst else Freshness.UNKNOWN.value,
        "flows": [flow_document(draft, flow, now) for flow in flows],
    }


def describe_status(flow: FlowState) -> str:
    """Return the message that people see for a flow's status."""
    return flow.detail or MESSAGES[flow.reason]


def derive_freshness(flow: FlowState, now: datetime) -> Freshness:
    """Derive the displayed freshness from status, reason and schedule; it is never stored."""
    if flow.status is FlowStatus.RUNNING:
        return Freshness.REFRESHING
    if flow.status is FlowStatus.ERROR:
        return Freshness.FAILED
    if flow.status is FlowStatus.NOT_INITIALIZED:
        return Freshness.UNKNOWN
    if flow.reason is Reason.SOURCE_DELAYED:
        return Freshness.SOURCE_DELAYED
    late = flow.due_deadline is not None and flow.due_deadline < now
    return Freshness.STALE if late or flow.status is FlowStatus.STALE else Freshness.FRESH


def flow_document(draft: Draft, flow: FlowState, now: datetime) -> Document:
    """Report one flow as ``instances status --json`` shows it."""
    return {
        "id": str(flow.id),
        "kind": flow.kind,
        "deployment_id": str(flow.deployment_id) if flow.deployment_id else None,
        "status": flow.status.value,
        "reason": flow.reason.value,
        "message": describe_status(flow),
        "since": _iso(flow.since),
        "freshness": derive_freshness(flow, now).value,
        "generation": flow.generation,
        "last_data_date": _iso(flow.last_data_date),
        "last_ready_at": _iso(flow.last_ready_at),
        "next_due_at": _iso(flow.next_due_at),
        "last_run_id": str(flow.last_run_id) if flow.last_run_id else None,
        "blocked_by": [_blocker(blocker) for blocker in _blocked_by(draft, flow)],
    }


def _blocked_by(draft: Draft, flow: FlowState) -> tuple[Blocker, ...]:
    """Return what keeps the gate closed; empty for a READY or RUNNING flow."""
    if flow.status in (FlowStatus.READY, FlowStatus.RUNNING):
        return ()
    return gate.find_blockers(draft, flow.id)


def _blocker(blocker: Blocker) -> Document:
    return {
        "resource": blocker.instance,
        "flow_kind": blocker.kind,
        "role": blocker.role,
        "require": blocker.require.value,
        "status": blocker.status.value,
        "reason": blocker.reason.value,
        "since": _iso(blocker.since),
        "message": blocker.detail or MESSAGES[blocker.reason],
    }


def lineage(database: Database, name: str | None = None) -> Document:
    """Report flows as nodes and dependencies as edges: all, or the neighbourhood of an instance."""
    with database.read() as session:
        wanted = _around(session, name) if name else None
        return {
            "nodes": [_node(row) for row in select_nodes(session, wanted)],
            "edges": [_edge(edge) for edge in select_edges(session, wanted)],
        }


def _around(session: Session, name: str) -> set[UUID]:
    """Select the flows of an instance, and all their ancestors and descendants."""
    own = {flow.id for flow in flows_of(session, get_instance(session, name).id)}
    return select_ancestors(session, own) | select_descendants(session, own)


def _node(row: Any) -> Document:
    return {
        "id": str(row.instance_id),
        "flow_id": str(row.flow_id),
        "name": row.name,
        "project": row.project,
        "type": row.type,
        "flow_kind": row.kind,
        "status": row.status.value,
    }


def _edge(edge: Any) -> Document:
    return {
        "upstream": str(edge.upstream_flow_id),
        "downstream": str(edge.downstream_flow_id),
        "role": edge.role,
        "require": edge.require.value,
        "triggers": edge.triggers,
        "consumed_generation": edge.consumed_generation,
    }


def show(database: Database, now: datetime, name: str) -> Document:
    """Report everything about one instance: status, configuration, components, ids, output."""
    document: Document = status(database, now, name)["instances"][0]
    instance_id = UUID(document["id"])
    with database.read() as session:
        resource = session.get_one(Resource, instance_id)
        extension = session.get(EXTENSIONS[resource.type], instance_id)
        document["created_at"] = _iso(resource.created_at)
        version = select_newest_version(session, instance_id)
        document["config"] = version.spec_json if version else None
        document["components"] = _composition(session, extension)
        document["handles"] = _handles(extension)
        document["guardrails"] = _guardrails(
            select_guardrail_reports_of_creation(session, instance_id)
        )
        document["output"] = _output(session, instance_id, SHAPES[resource.type].output)
    return document


def _composition(session: Session, extension: Any) -> Document:
    columns = {
        "pipeline": ("PipelineInstance", "pipeline_instance_id"),
        "store": ("StoreInstance", "store_instance_id"),
        "accessor": ("AccessorInstance", "accessor_instance_id"),
    }
    composed = {
        role: _component(session, type_, getattr(extension, column))
        for role, (type_, column) in columns.items()
        if hasattr(extension, column)
    }
    if not composed and getattr(extension, "definition_resource_id", None) is not None:
        composed["definition"] = _defined(session, extension)
    return {**(composed or _calls(session, extension.resource_id)), **_executor(session, extension)}


def _executor(session: Session, extension: Any) -> Document:
    """Return the executor, unless everything runs in the process of the run."""
    component_id = getattr(extension, "executor_instance_id", None)
    if component_id is None:
        return {}
    component = _component(session, "ExecutorInstance", component_id)
    return {} if component["definition"] == "local" else {"executor": component}


def _component(session: Session, type_: str, component_id: UUID) -> Document:
    row = session.get_one(COMPONENTS[type_], component_id)
    name = session.get_one(Resource, component_id).name
    return {"id": str(component_id), "name": name, **_defined(session, row)}


def _defined(session: Session, row: Any) -> Document:
    return {
        "definition": session.get_one(Resource, row.definition_resource_id).name,
        "version": session.get_one(ResourceVersion, row.definition_version_id).label,
        "config": row.config_json,
        **_calls(session, row.resource_id),
    }


def _calls(session: Session, owner_id: UUID) -> Document:
    """Return the definition versions that are pinned for an expression; empty if there are none."""
    found = {name: at for (_, name), at in sorted(read_recorded_calls(session, owner_id).items())}
    return {"calls": found} if found else {}


_HANDLES = ("_deployment_id", "block_document_id", "mlflow_", "evidently_")
"""What the columns are called that hold handles, in part."""


def _handles(extension: Any) -> Document:
    columns = [column.key for column in extension.__table__.columns] if extension else []
    return {
        name: _text(getattr(extension, name))
        for name in columns
        if any(part in name for part in _HANDLES)
    }


def _output(session: Session, instance_id: UUID, kind: str) -> Document | None:
    version = select_current_output(session, instance_id, kind)
    if version is None:
        return None
    return {
        "version": str(version.id),
        "generation": version.generation,
        "location": version.location,
        "rows": version.rows,
        "columns": version.columns,
        "min_date": _iso(version.min_date),
        "max_date": _iso(version.max_date),
        "created_at": _iso(version.created_at),
    }


def runs(database: Database, name: str, limit: int = 1000) -> Document:
    """List the runs of an instance, newest first."""
    with database.read() as session:
        instance_id = get_instance(session, name).id
        found = select_runs_of_instance(session, instance_id, limit)
        return {"runs": [_run(run, kind) for run, kind in found]}


def run_info(database: Database, run_id: str) -> Document:
    """Report everything that is recorded about one run.

    ``run_id`` is its id or that of its Prefect flow run. Raises NotFound.
    """
    try:
        identity = UUID(run_id)
    except ValueError:
        raise NotFound("run", run_id) from None
    with database.read() as session:
        row = select_run_and_owner(session, identity)
        if row is None:
            raise NotFound("run", run_id)
        run, kind, resource = row
        return {
            "instance": resource.name,
            **_run(run, kind),
            "parameters": run.parameters,
            "config_version": run.config_version,
            "artifacts": run.artifacts,
            "retries": run.retries,
            "opening_id": _text(run.opening_id),
            "handles": _handles(session.get(EXTENSIONS[resource.type], resource.id)),
            "guardrails": _guardrails(select_guardrail_reports_of_run(session, run.id)),
        }


def _guardrails(reports: Sequence[GuardrailReport]) -> list[Document]:
    """Convert guardrail reports to documents, in the given order."""
    return [
        {
            "kind": report.kind,
            "gate": report.gate,
            "mode": report.mode,
            "passed": report.passed,
            "message": report.message,
            "details": report.details_json,
        }
        for report in reports
    ]


def _run(run: RunRecord, kind: str) -> Document:
    return {
        "id": str(run.id),
        "type": run.type,
        "flow_kind": kind,
        "status": run.status.value,
        "cause": run.cause.value,
        "prefect_flow_run_id": str(run.prefect_flow_run_id),
        "started_at": _iso(run.started_at),
        "ended_at": _iso(run.ended_at),
        "inputs": [
            {name: pin[name] for name in ("resource", "flow_kind", "role", "generation", "version")}
            for pin in run.pins
        ],
        "output_version": _text(run.output_version),
        "metrics": run.metrics,
        "error": run.error,
    }


def cascade(database: Database, now: datetime, name: str) -> Document:
    """Report the progress of an instance and of every flow downstream that it triggers.

    ``settled`` is True once none of its flows runs or is about to run: a flow that is not READY
    then does not become READY by itself.
    """
    with database.read() as session:
        named = get_instance(session, name)
        own = [flow.id for flow in flows_of(session, named.id)]
        reached = select_descendants(session, own, triggered=True)
        draft = Draft(load_region(session, reached), now)
    flows = [draft.flows[flow_id] for flow_id in reached]
    busy = [flow for flow in flows if _busy(draft, flow)]
    return {
        "settled": not busy,
        "ready": all(flow.status is FlowStatus.READY for flow in flows),
        "flows": [
            {"instance": draft.instance_of(f).name, **flow_document(draft, f, now)} for f in flows
        ],
    }


def _busy(draft: Draft, flow: FlowState) -> bool:
    """Return True if the flow is RUNNING, or has an opening that a run can claim now."""
    if flow.status is FlowStatus.RUNNING:
        return True
    return bool(draft.unclaimed(flow.id)) and not gate.find_blockers(draft, flow.id)


def has_request(database: Database, name: str) -> bool:
    """Return True if a run request of an instance is pending."""
    with database.read() as session:
        instance_id = get_instance(session, name).id
        return has_pending_request(session, instance_id)


def _iso(value: datetime | date | None) -> str | None:
    return value.isoformat() if value is not None else None


def _text(value: UUID | str | None) -> str | None:
    return str(value) if value is not None else None
