"""The unit of work: a region, its changes, and the events that report them.

A ``Draft`` is the only mutable object of the core. One decision function changes it, and
``changes`` returns the records that are new or differ from those that were loaded.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar
from uuid import UUID, uuid5

from prefect_instances.libs.core import ids
from prefect_instances.libs.core.aggregation import aggregate
from prefect_instances.libs.core.events import (
    Event,
    build_instance_event,
    label_project,
    label_related_instance,
)
from prefect_instances.libs.core.records import (
    UNCLAIMED,
    EdgeState,
    FlowState,
    InstanceState,
    Opening,
    Region,
    Request,
    RequestStatus,
    Run,
)
from prefect_instances.libs.core.status import MESSAGES, FlowStatus, Lifecycle, Reason

Record = TypeVar("Record")


@dataclass(frozen=True, slots=True)
class Changes:
    """What one transaction writes: the new and changed records of each kind, and the events."""

    instances: tuple[InstanceState, ...] = ()
    flows: tuple[FlowState, ...] = ()
    edges: tuple[EdgeState, ...] = ()
    openings: tuple[Opening, ...] = ()
    requests: tuple[Request, ...] = ()
    runs: tuple[Run, ...] = ()
    events: tuple[Event, ...] = ()


@dataclass(slots=True)
class Draft:
    """A region under change at the time ``now``.

    ``announced`` are openings that get an event. ``touched`` are instances whose status is
    recomputed even if none of their flows changed. ``facts`` are events beyond those of changed
    records: name, flow and payload.
    """

    before: Region
    now: datetime
    instances: dict[UUID, InstanceState] = field(init=False)
    flows: dict[UUID, FlowState] = field(init=False)
    edges: dict[UUID, EdgeState] = field(init=False)
    openings: dict[UUID, Opening] = field(init=False)
    requests: dict[UUID, Request] = field(init=False)
    runs: dict[UUID, Run] = field(init=False)
    incoming: dict[UUID, list[UUID]] = field(init=False)
    outgoing: dict[UUID, list[UUID]] = field(init=False)
    announced: list[UUID] = field(default_factory=list)
    touched: set[UUID] = field(default_factory=set)
    facts: list[tuple[str, UUID, Mapping[str, object]]] = field(default_factory=list)
    _openings_of: dict[UUID, set[UUID]] = field(init=False)
    _requests_of: dict[UUID, set[UUID]] = field(init=False)

    def __post_init__(self) -> None:
        region = self.before
        self.instances, self.flows = dict(region.instances), dict(region.flows)
        self.edges, self.openings = dict(region.edges), dict(region.openings)
        self.requests, self.runs = dict(region.requests), dict(region.runs)
        self.incoming, self.outgoing = defaultdict(list), defaultdict(list)
        for edge in region.edges.values():
            self.incoming[edge.downstream].append(edge.id)
            self.outgoing[edge.upstream].append(edge.id)
        self._openings_of, self._requests_of = defaultdict(set), defaultdict(set)
        for opening in region.openings.values():
            self._openings_of[opening.flow_id].add(opening.id)
        for request in region.requests.values():
            self._requests_of[request.flow_id].add(request.id)

    def upstream_edges(self, flow_id: UUID) -> list[EdgeState]:
        """Return the edges into a flow."""
        return [self.edges[edge_id] for edge_id in self.incoming.get(flow_id, ())]

    def downstream_edges(self, flow_id: UUID) -> list[EdgeState]:
        """Return the edges out of a flow."""
        return [self.edges[edge_id] for edge_id in self.outgoing.get(flow_id, ())]

    def instance_of(self, flow: FlowState) -> InstanceState:
        """Return the instance that owns a flow."""
        return self.instances[flow.instance_id]

    def is_active(self, flow: FlowState) -> bool:
        """Return True if the flow's instance is ACTIVE, so that runs may start."""
        return self.instance_of(flow).lifecycle is Lifecycle.ACTIVE

    def set_status(
        self, flow_id: UUID, status: FlowStatus, reason: Reason, detail: str = ""
    ) -> None:
        """Set a flow's status; ``since`` changes only if status or reason changes."""
        flow = self.flows[flow_id]
        same = (flow.status, flow.reason) == (status, reason)
        since = flow.since if same else self.now
        self.flows[flow_id] = replace(
            flow, status=status, reason=reason, detail=detail, since=since
        )

    def unclaimed(self, flow_id: UUID) -> list[Opening]:
        """Return the openings of a flow that no run has claimed."""
        held = (self.openings[opening_id] for opening_id in self._openings_of.get(flow_id, ()))
        return [opening for opening in held if opening.status in UNCLAIMED]

    def pending_request(self, flow_id: UUID) -> Request | None:
        """Return the pending request of a flow; None if it has none."""
        held = (self.requests[request_id] for request_id in self._requests_of.get(flow_id, ()))
        return next((r for r in held if r.status is RequestStatus.PENDING), None)

    def has_recursive_request(self, flow_id: UUID) -> bool:
        """Return True while a recursive request of a flow is pending or claimed."""
        held = (self.requests[request_id] for request_id in self._requests_of.get(flow_id, ()))
        return any(r.parameters.recursive and r.status is not RequestStatus.DONE for r in held)

    def put_opening(self, opening: Opening, *, announce: bool = False) -> None:
        """Insert or replace an opening; ``announce`` adds an event that starts its run."""
        self.openings[opening.id] = opening
        self._openings_of[opening.flow_id].add(opening.id)
        if announce:
            self.announced.append(opening.id)

    def put_request(self, request: Request) -> None:
        """Insert or replace a request."""
        self.requests[request.id] = request
        self._requests_of[request.flow_id].add(request.id)

    def changes(self) -> Changes:
        """Recompute the status of affected instances and return all differences."""
        flows = _differing(self.before.flows, self.flows)
        self._aggregate({flow.instance_id for flow in flows} | self.touched)
        instances = _differing(self.before.instances, self.instances)
        return Changes(
            instances=instances,
            flows=flows,
            edges=_differing(self.before.edges, self.edges),
            openings=_differing(self.before.openings, self.openings),
            requests=_differing(self.before.requests, self.requests),
            runs=_differing(self.before.runs, self.runs),
            events=(
                # First, because runs wait for them; thousands of other events may follow.
                *self._gate_events(),
                *self._flow_events(flows),
                *self._breach_events(flows),
                *self._fact_events(),
                *self._instance_events(instances),
            ),
        )

    def _aggregate(self, touched: set[UUID]) -> None:
        statuses: dict[UUID, list[FlowStatus]] = defaultdict(list)
        for flow in self.flows.values():
            if flow.instance_id in touched and flow.aggregated:
                statuses[flow.instance_id].append(flow.status)
        for instance_id, present in statuses.items():
            instance = self.instances[instance_id]
            status = aggregate(present, instance.contract)
            if status is not instance.status:
                self.instances[instance_id] = replace(instance, status=status)

    def _flow_events(self, flows: Iterable[FlowState]) -> list[Event]:
        events = []
        for flow in flows:
            old = self.before.flows.get(flow.id)
            if old is None or (old.status, old.reason) != (flow.status, flow.reason):
                payload = {**self._describe(flow), "old_status": str(old.status) if old else None}
                events.append(self._event(ids.flow_event(flow.status), flow, payload))
        return events

    def _fact_events(self) -> list[Event]:
        """Build the events that a decision records besides status changes."""
        return [
            self._event(name, flow, {**self._describe(flow), **payload})
            for name, flow_id, payload in self.facts
            if (flow := self.flows[flow_id])
        ]

    def _breach_events(self, flows: Iterable[FlowState]) -> list[Event]:
        """Build one event for each flow whose deadline has passed, whatever its status."""
        breached = [flow for flow in flows if flow.breached and not self._was_breached(flow)]
        return [self._event(ids.SLA_BREACHED, flow, self._describe(flow)) for flow in breached]

    def _was_breached(self, flow: FlowState) -> bool:
        old = self.before.flows.get(flow.id)
        return old is not None and old.breached

    def _gate_events(self) -> list[Event]:
        events = []
        for opening_id in dict.fromkeys(self.announced):
            opening = self.openings[opening_id]
            flow = self.flows[opening.flow_id]
            payload = {
                **self._describe(flow),
                "opening": str(opening.id),
                "attempt": opening.attempt,
                "not_before": opening.not_before.isoformat(),
                "inputs": dict(opening.vector),
            }
            events.append(
                self._event(ids.GATE_OPENED, flow, payload, f"{opening.id}:{opening.attempt}")
            )
        return events

    def _instance_events(self, instances: Iterable[InstanceState]) -> list[Event]:
        events = []
        deployments = self._deployments()
        for instance in instances:
            old = self.before.instances[instance.id]
            if old.status is instance.status:
                continue
            events.append(
                build_instance_event(
                    ids.STATUS_CHANGED,
                    self.now,
                    instance,
                    f"{instance.status}:{self.now.isoformat()}",
                    (
                        *ids.deployment_resources(deployments[instance.id]),
                        label_related_instance(instance),
                        label_project(instance.project_id, instance.project),
                    ),
                    old_status=str(old.status),
                    status=str(instance.status),
                )
            )
        return events

    def _event(
        self, name: str, flow: FlowState, payload: Mapping[str, object], key: str = ""
    ) -> Event:
        instance = self.instance_of(flow)
        label = f"{instance.project}/{instance.name}.{flow.kind}"
        return Event(
            id=self._event_id(name, flow.id, key),
            name=name,
            occurred=self.now,
            resource={
                "prefect.resource.id": ids.flow_resource(flow.id),
                "prefect.resource.name": label,
            },
            related=(
                # The deployment comes first: an inferred action uses the first match.
                *ids.deployment_resources([flow.deployment_id]),
                label_related_instance(instance),
                label_project(instance.project_id, instance.project),
            ),
            payload=payload,
        )

    def _deployments(self) -> dict[UUID, list[UUID | None]]:
        """Return the deployments of the flows of each instance."""
        found: dict[UUID, list[UUID | None]] = defaultdict(list)
        for flow in self.flows.values():
            found[flow.instance_id].append(flow.deployment_id)
        return found

    def _event_id(self, name: str, subject: UUID, key: str) -> UUID:
        return uuid5(subject, f"{name}:{key}:{self.now.isoformat()}")

    def _describe(self, flow: FlowState) -> dict[str, object]:
        instance = self.instance_of(flow)
        overdue = None
        if flow.next_due_at is not None:
            overdue = max(0.0, (self.now - flow.next_due_at).total_seconds() / 3600)
        return {
            "instance": instance.name,
            "instance_id": str(instance.id),
            "project": instance.project,
            "type": instance.type,
            "flow_kind": flow.kind,
            "flow_id": str(flow.id),
            "status": str(flow.status),
            "reason": str(flow.reason),
            "message": flow.detail or MESSAGES[flow.reason],
            "generation": flow.generation,
            "expected_refresh_at": flow.next_due_at.isoformat() if flow.next_due_at else None,
            "overdue_hours": round(overdue, 3) if overdue is not None else None,
        }


def _differing(before: Mapping[UUID, Record], after: Mapping[UUID, Record]) -> tuple[Any, ...]:
    return tuple(
        record
        for key, record in after.items()
        if (old := before.get(key)) is not record and old != record
    )
