"""Load the part of the lineage graph that a decision reads, and write what the decision changed.

A region holds the flow itself, its direct neighbours and, after a publication, its descendants over
triggering edges (one recursive query): never the whole graph.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, fields
from datetime import date
from typing import Any, cast
from uuid import UUID

from sqlalchemy import (
    ARRAY,
    CTE,
    ColumnElement,
    Select,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal,
    select,
    true,
    update,
)
from sqlalchemy.orm import Session, aliased

from prefect_instances.libs.core.aggregation import AggregationContract, read_contract
from prefect_instances.libs.core.records import (
    EdgeState,
    FlowState,
    InstanceState,
    Opening,
    OpeningStatus,
    Pin,
    Region,
    Request,
    RequestStatus,
    Run,
    RunParameters,
)
from prefect_instances.libs.core.status import FlowStatus, Mode, RunStatus
from prefect_instances.libs.core.unit_of_work import Changes
from prefect_instances.libs.db.models import (
    FlowExecutionResource,
    GateOpening,
    LineageEdge,
    Resource,
    RunRecord,
    RunRequest,
)

LIVE_OPENINGS = (OpeningStatus.OPEN, OpeningStatus.WAITING, OpeningStatus.CLAIMED)
LIVE_REQUESTS = (RequestStatus.PENDING, RequestStatus.CLAIMED)

FLOW_COLUMNS = [field.name for field in fields(FlowState)]


def load_region(
    session: Session,
    flow_ids: Collection[UUID],
    *,
    descend: bool = False,
    ascend: bool = False,
    prefect_flow_run_id: UUID | None = None,
    instance_ids: Collection[UUID] = (),
) -> Region:
    """Load the region around some flows, with some more instances if given.

    With ``descend`` it holds all descendants over triggering edges and their direct downstreams, as
    a success needs them; with ``ascend`` all ancestors, as a recursive request needs them.
    Otherwise it holds the flows, their upstreams and the other flows of their instances.
    """
    evaluated = select_ancestors(session, flow_ids) if ascend else set(flow_ids)
    if descend:
        evaluated |= _reached(session, evaluated)
    edges = _edges_into(session, evaluated)
    around = evaluated | {edge.upstream for edge in edges}
    flows = _flows(session, around)
    instances = {f.instance_id for f in flows} | set(instance_ids)
    return Region(
        instances={i.id: i for i in _instances(session, instances)},
        flows={flow.id: flow for flow in flows},
        edges={edge.id: edge for edge in edges},
        openings={o.id: o for o in _openings(session, evaluated)},
        requests={r.id: r for r in _requests(session, around)},
        runs={run.id: run for run in _runs(session, flow_ids, prefect_flow_run_id)},
    )


def select_ancestors(session: Session, flow_ids: Collection[UUID]) -> set[UUID]:
    """Select some flows and everything upstream of them."""
    first = select(FlowExecutionResource.id.label("id")).where(
        among(session, FlowExecutionResource.id, flow_ids)
    )
    walk = first.cte("upstream", recursive=True)
    edge = aliased(LineageEdge)
    walk = walk.union(
        select(edge.upstream_flow_id).join(walk, edge.downstream_flow_id == walk.c.id)
    )
    return set(session.scalars(select(walk.c.id)))


def select_descendants(
    session: Session, flow_ids: Collection[UUID], *, triggered: bool = False
) -> set[UUID]:
    """Select some flows and everything downstream; ``triggered``: over triggering edges only."""
    walk = _walk_down(session, flow_ids, triggered=triggered)
    reached = select(walk.c.id)
    return set(session.scalars(reached.where(walk.c.triggers) if triggered else reached))


def _reached(session: Session, start: Collection[UUID]) -> set[UUID]:
    """Select descendants over triggering edges, and the direct downstreams of all of them."""
    return set(session.scalars(select(_walk_down(session, start, triggered=True).c.id)))


def _walk_down(session: Session, flow_ids: Collection[UUID], *, triggered: bool) -> CTE:
    """Build the query of flows and whether a triggering edge leads to them.

    With ``triggered`` the walk ends at an edge that does not trigger. The edges are joined once and
    without a condition of their own: for a second join, or for the condition, planners read all
    edges (SQLite to index or filter them, PostgreSQL to hash them).
    """
    flow, edge = FlowExecutionResource, aliased(LineageEdge)
    first = select(flow.id.label("id"), true().label("triggers"))
    walk = first.where(among(session, flow.id, flow_ids)).cte("walk", recursive=True)
    step = select(edge.downstream_flow_id, edge.triggers)
    step = step.join(walk, edge.upstream_flow_id == walk.c.id)
    return walk.union(step.where(walk.c.triggers) if triggered else step)


def _edges_into(session: Session, flow_ids: Collection[UUID]) -> list[EdgeState]:
    columns = LineageEdge.__table__.c
    return [
        EdgeState(
            id=row.id,
            upstream=row.upstream_flow_id,
            downstream=row.downstream_flow_id,
            role=row.role,
            require=row.require,
            triggers=row.triggers,
            consumed=row.consumed_generation,
        )
        for row in _rows(
            session,
            select(*columns).order_by(columns.position),
            columns.downstream_flow_id,
            flow_ids,
        )
    ]


def _flows(session: Session, flow_ids: Collection[UUID]) -> list[FlowState]:
    """Load flows, and the other flows of their instances, which the aggregate status needs."""
    if not flow_ids:
        return []
    columns = FlowExecutionResource.__table__.c
    named = FlowExecutionResource.__table__.alias("named").c
    owners = select(named.instance_id).where(among(session, named.id, flow_ids))
    query = select(*(columns[name] for name in FLOW_COLUMNS))
    rows = session.execute(query.where(columns.instance_id.in_(owners)))
    return [FlowState(*row) for row in rows]


def _instances(session: Session, ids: Collection[UUID]) -> list[InstanceState]:
    project = aliased(Resource)
    query = select(
        Resource.id,
        Resource.name,
        Resource.parent_id,
        project.name.label("project"),
        Resource.type,
        Resource.lifecycle,
        Resource.status,
        Resource.contract,
    ).join(project, project.id == Resource.parent_id)
    contracts: dict[str, AggregationContract] = {}
    return [
        InstanceState(
            id=row.id,
            name=row.name,
            project_id=row.parent_id,
            project=row.project,
            type=row.type,
            lifecycle=row.lifecycle,
            status=row.status or FlowStatus.NOT_INITIALIZED,
            contract=_contract(row.contract, contracts),
        )
        for row in _rows(session, query, Resource.id, ids)
    ]


def _contract(
    document: Mapping[str, Any] | None, known: dict[str, AggregationContract]
) -> AggregationContract:
    """Parse a contract; equal ones, which most instances have, are parsed once."""
    text = repr(document)
    if text not in known:
        known[text] = read_contract(document) if document else AggregationContract()
    return known[text]


def _openings(session: Session, flow_ids: Collection[UUID]) -> list[Opening]:
    columns = GateOpening.__table__.c
    query = select(*(columns[field.name] for field in fields(Opening))).where(
        columns.status.in_(LIVE_OPENINGS)
    )
    return [Opening(*row) for row in _rows(session, query, columns.flow_id, flow_ids)]


def _requests(session: Session, flow_ids: Collection[UUID]) -> list[Request]:
    columns = RunRequest.__table__.c
    query = select(*(columns[field.name] for field in fields(Request))).where(
        columns.status.in_(LIVE_REQUESTS)
    )
    return [
        Request(**{**row._asdict(), "parameters": read_parameters(row.parameters)})
        for row in _rows(session, query, columns.flow_id, flow_ids)
    ]


def _runs(
    session: Session, flow_ids: Collection[UUID], prefect_flow_run_id: UUID | None
) -> list[Run]:
    """Load the RUNNING runs of the flows, and the run of one Prefect flow run in any status."""
    columns = RunRecord.__table__.c
    query = select(*(columns[field.name] for field in fields(Run)))
    running = query.where(columns.status == RunStatus.RUNNING)
    rows = list(_rows(session, running, columns.flow_id, flow_ids))
    if prefect_flow_run_id is not None:
        rows += session.execute(query.where(columns.prefect_flow_run_id == prefect_flow_run_id))
    return [read_run(row._asdict()) for row in rows]


def read_run(row: Mapping[str, Any]) -> Run:
    """Build a run from its row."""
    return Run(
        **{
            **row,
            "pins": tuple(_read_pin(pin) for pin in row["pins"]),
            "parameters": read_parameters(row["parameters"]),
        }
    )


def _read_pin(document: Mapping[str, Any]) -> Pin:
    return Pin(
        edge_id=UUID(document["edge"]),
        upstream=UUID(document["flow"]),
        role=document["role"],
        generation=document["generation"],
        version_id=UUID(document["version"]) if document["version"] else None,
    )


def read_parameters(document: Mapping[str, Any]) -> RunParameters:
    """Build run parameters from their JSON document."""
    return RunParameters(
        mode=Mode(document.get("mode", Mode.INCREMENTAL)),
        **{name: _date(document.get(name)) for name in DATES},
        force=bool(document.get("force", False)),
        recursive=bool(document.get("recursive", False)),
        smart=bool(document.get("smart", False)),
        accept_loss=bool(document.get("accept_loss", False)),
    )


def write_parameters(parameters: RunParameters) -> dict[str, Any]:
    """Convert run parameters to a JSON document."""
    document = {**asdict(parameters), "mode": parameters.mode.value}
    for name in DATES:
        document[name] = document[name].isoformat() if document[name] else None
    return document


DATES = ("as_of", "start", "end")
"""Run parameters that are dates; they are ISO texts in the document."""


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None


def _rows(
    session: Session, query: Select[*tuple[Any, ...]], column: Any, ids: Collection[UUID]
) -> Iterator[Any]:
    if ids:
        yield from session.execute(query.where(among(session, column, ids)))


def among(session: Session, column: Any, ids: Collection[UUID]) -> ColumnElement[bool]:
    """Build the condition that a column holds one of the ids, given as one parameter.

    So the statement is the same for any number of ids, and no dialect's limit of parameters is met.
    """
    if session.get_bind().dialect.name == "sqlite":
        listed = func.json_each(json.dumps([id_.hex for id_ in ids])).table_valued("value")
        return cast("ColumnElement[bool]", column.in_(select(listed.c.value)))
    return cast("ColumnElement[bool]", column == any_(literal(list(ids), ARRAY(Uuid()))))


def save_changes(session: Session, before: Region, changes: Changes) -> None:
    """Write the changes of a decision; ``record_events`` writes its events."""
    _update(session, Resource, before.instances, changes.instances, {"status", "lifecycle"})
    _update(session, FlowExecutionResource, before.flows, changes.flows, None)
    _update_edges(session, changes.edges)
    _save_runs(session, before, changes)
    _save(session, GateOpening, before.openings, changes.openings, asdict)
    _save_requests(session, before, changes)


def _update_edges(session: Session, edges: Iterable[EdgeState]) -> None:
    """Update the consumed generations, with one statement for each generation."""
    by_generation: dict[int, list[UUID]] = defaultdict(list)
    for edge in edges:
        by_generation[edge.consumed].append(edge.id)
    for consumed, ids in by_generation.items():
        _write(session, LineageEdge, ids, {"consumed_generation": consumed})


def _save_requests(session: Session, before: Region, changes: Changes) -> None:
    # The unique index allows one pending request for each flow, so requests that end come first.
    ordered = sorted(changes.requests, key=lambda r: r.status is RequestStatus.PENDING)
    _save(session, RunRequest, before.requests, ordered, _request_row)


def _save_runs(session: Session, before: Region, changes: Changes) -> None:
    flows = {flow.id: flow for flow in before.flows.values()}

    def row(run: Run) -> dict[str, Any]:
        return {
            **asdict(run),
            "type": RUN_TYPES.get(flows[run.flow_id].kind, "DefinitionRun"),
            "parameters": write_parameters(run.parameters),
            "pins": [_pin_row(before, pin) for pin in run.pins],
            "metrics": {},
            "artifacts": [],
        }

    new = [run for run in changes.runs if run.id not in before.runs]
    if new:
        session.execute(insert(RunRecord), [row(run) for run in new])
    changed = {"status", "ended_at", "lease_until", "output_version", "error"}
    _update(
        session, RunRecord, before.runs, [r for r in changes.runs if r.id in before.runs], changed
    )


RUN_TYPES = {
    "refresh": "PipelineRun",
    "preview": "ExperimentRun",
    "training": "TrainingRun",
    "inference": "InferenceRun",
    "monitoring": "MonitoringRun",
    "optimize": "PortfolioOptimizationRun",
    "backtest": "BacktestRun",
}
"""Type of run by kind of flow; flows that a definition adds have DefinitionRun."""


def _pin_row(region: Region, pin: Pin) -> dict[str, Any]:
    """Build the document of a pin with the present names: it is readable when they are gone."""
    upstream = region.flows[pin.upstream]
    return {
        "edge": str(pin.edge_id),
        "flow": str(pin.upstream),
        "role": pin.role,
        "generation": pin.generation,
        "version": str(pin.version_id) if pin.version_id else None,
        "resource": region.instances[upstream.instance_id].name,
        "flow_kind": upstream.kind,
    }


def _request_row(request: Request) -> dict[str, Any]:
    return {**asdict(request), "parameters": write_parameters(request.parameters)}


def _save(session: Session, model: Any, before: Mapping[UUID, Any], records: Any, row: Any) -> None:
    """Update records that exist, in the order given, then insert the new ones."""
    missing = [record.id for record in records if record.id not in before]
    columns = model.__table__.c
    # An opening that had ended can return under its old id.
    back = {found.id for found in _rows(session, select(columns.id), columns.id, missing)}
    new = {record_id for record_id in missing if record_id not in back}
    _write_each(session, model, [row(record) for record in records if record.id not in new])
    if new:
        session.execute(insert(model), [row(record) for record in records if record.id in new])


def _update(
    session: Session,
    model: Any,
    before: Mapping[UUID, Any],
    records: Iterable[Any],
    only: set[str] | None,
) -> None:
    """Update the columns that changed, with one statement for records that change alike."""
    changes: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    names: list[str] = sorted(only or ())
    for record in records:
        old = before[record.id]
        names = names or [field.name for field in fields(record)]
        changed = {
            name: value for name in names if (value := getattr(record, name)) != getattr(old, name)
        }
        if changed:
            changes[tuple(changed)].append({"id": record.id, **changed})
    for rows in changes.values():
        _write_alike(session, model, rows)


def _write_alike(session: Session, model: Any, rows: list[dict[str, Any]]) -> None:
    """Write rows that change in the same columns; one statement if the values are equal too."""
    values = {name: value for name, value in rows[0].items() if name != "id"}
    if all(row == {"id": row["id"], **values} for row in rows):
        _write(session, model, [row["id"] for row in rows], values)
    else:
        _write_each(session, model, rows)


def _write_each(session: Session, model: Any, rows: list[dict[str, Any]]) -> None:
    """Write rows of the same columns, in order, as one statement with many parameters."""
    if rows:
        table = model.__table__
        values = [
            {"row_id": row["id"], **{k: v for k, v in row.items() if k != "id"}} for row in rows
        ]
        session.execute(update(table).where(table.c.id == bindparam("row_id")), values)


def _write(session: Session, model: Any, ids: list[UUID], values: dict[str, Any]) -> None:
    table = model.__table__
    session.execute(update(table).where(among(session, table.c.id, ids)).values(values))
