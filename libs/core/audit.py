"""Audit of the stored records: what is lost, doubled or stuck in them; pure.

``Records`` is everything that the database holds about flows and runs at one instant. Every rule
that is checked here holds after each transaction, so a finding is never only a matter of time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from enum import StrEnum
from uuid import UUID

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.records import (
    FlowState,
    Opening,
    OpeningStatus,
    Region,
    Request,
    RequestStatus,
    Run,
)
from prefect_instances.libs.core.status import Cause, FlowStatus, RunStatus
from prefect_instances.libs.core.transitions import reconsider
from prefect_instances.libs.core.unit_of_work import Draft


class Fault(StrEnum):
    """The kinds of finding; an orphan only takes up space, every other kind is a fault."""

    LOST = "lost"
    DOUBLED = "doubled"
    STUCK = "stuck"
    DIVERGED = "differs"
    ORPHANED = "orphaned"


@dataclass(frozen=True, slots=True)
class Finding:
    """One finding: its kind, what it concerns, what is wrong, and what mends it.

    ``remedy`` is empty if no command mends it.
    """

    kind: Fault
    subject: str
    detail: str
    remedy: str = ""

    @property
    def harms(self) -> bool:
        """True unless it only takes up space."""
        return self.kind is not Fault.ORPHANED

    def row(self) -> dict[str, object]:
        """Convert to a row for people and programs; ``fault`` says whether it does harm."""
        return {**asdict(self), "fault": self.harms}


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """One published version: its flow, its number, and the run that published it."""

    id: UUID
    flow_id: UUID
    generation: int
    location: str
    run_id: UUID


@dataclass(frozen=True)
class Records:
    """The records at one instant: the whole graph, every run and every published version."""

    region: Region
    runs: Mapping[UUID, Run] = field(default_factory=dict)
    versions: tuple[StoredVersion, ...] = ()

    def name(self, flow_id: UUID) -> str:
        """Return ``project/instance.kind`` of a flow, or its id if it is gone."""
        flow = self.region.flows.get(flow_id)
        if flow is None:
            return str(flow_id)
        instance = self.region.instances[flow.instance_id]
        return f"{instance.project}/{instance.name}.{flow.kind}"

    def command(self, flow_id: UUID) -> str:
        """Return the command that runs a flow."""
        name, _, kind = self.name(flow_id).rpartition(".")
        return f"`instances run {name} --flow {kind}`"


def audit_records(records: Records, now: datetime) -> list[Finding]:
    """List every contradiction in the records; empty if there is none."""
    draft = Draft(records.region, now)
    return [
        *_running(records),
        *_outputs(records),
        *_doubled(records),
        *_claims(records),
        *_gates(records, draft),
    ]


def _running(records: Records) -> Iterator[Finding]:
    """Compare what a flow says about its run in progress with the runs."""
    flows = records.region.flows
    for flow in flows.values():
        run = records.runs.get(flow.running) if flow.running else None
        alive = run is not None and run.status is RunStatus.RUNNING
        if (flow.status is FlowStatus.RUNNING or flow.running) and not alive:
            detail = f"it is {flow.status}, but no run is in progress"
            yield Finding(Fault.STUCK, records.name(flow.id), detail)
    for run in records.runs.values():
        if run.status is RunStatus.RUNNING and flows[run.flow_id].running != run.id:
            detail = f"run {run.id} is RUNNING beside the flow's own run"
            yield Finding(Fault.DOUBLED, records.name(run.flow_id), detail, SWEEP)


SWEEP = "the next sweep (`sweep-freshness/default`) ends it"
REFRESH = "the output is computed again by"


def _outputs(records: Records) -> Iterator[Finding]:
    """Compare each flow's generation with its published versions, and these with their runs."""
    published: dict[UUID, dict[int, StoredVersion]] = defaultdict(dict)
    for version in records.versions:
        published[version.flow_id][version.generation] = version
        run = records.runs.get(version.run_id)
        if run is None or run.status is not RunStatus.COMPLETED:
            how = run.status if run else "not on record"
            detail = f"generation {version.generation} was published by a run that is {how}"
            yield Finding(Fault.DOUBLED, records.name(version.flow_id), detail)
    for flow in records.region.flows.values():
        yield from _own_outputs(records, flow, published[flow.id])


def _own_outputs(
    records: Records, flow: FlowState, versions: Mapping[int, StoredVersion]
) -> Iterator[Finding]:
    name, remedy = records.name(flow.id), f"{REFRESH} {records.command(flow.id)}"
    lost = sorted(set(range(1, flow.generation + 1)) - set(versions))
    if lost:
        yield Finding(Fault.LOST, name, f"{len(lost)} generations have no row: {lost[:5]}", remedy)
    if beyond := [number for number in versions if number > flow.generation]:
        detail = f"generation {max(beyond)} exists, but the flow is at {flow.generation}"
        yield Finding(Fault.DOUBLED, name, detail)
    newest = versions.get(flow.generation)
    if newest is not None and newest.id != flow.version_id:
        detail = f"its current version is {flow.version_id}, generation {flow.generation} is not"
        yield Finding(Fault.LOST, name, detail, remedy)


def _doubled(records: Records) -> Iterator[Finding]:
    """Find work that succeeded twice: of one opening, of one request, or on the same inputs."""
    groups: dict[tuple[object, ...], list[Run]] = defaultdict(list)
    for run in records.runs.values():
        if run.status is RunStatus.COMPLETED:
            for key in _work_of(run):
                groups[key].append(run)
    for (_, what, *_), runs in groups.items():
        if len(runs) > 1:
            detail = f"{len(runs)} runs succeeded for {what}: {', '.join(str(r.id) for r in runs)}"
            yield Finding(Fault.DOUBLED, records.name(runs[0].flow_id), detail)


def _work_of(run: Run) -> Iterable[tuple[object, ...]]:
    """Name the work of a run: each name may be done once."""
    if run.opening_id is not None:
        yield run.flow_id, "one opening", run.opening_id
    if run.cause is Cause.GATE and run.pins and not run.parameters.force:
        read = frozenset((pin.edge_id, pin.generation) for pin in run.pins)
        yield run.flow_id, "the same inputs", run.config_version, read


def _claims(records: Records) -> Iterator[Finding]:
    """Find openings and requests whose claim belongs to a run that is no longer in progress."""
    taken: list[tuple[Opening | Request, str]] = [
        *((o, "an opening") for o in records.region.openings.values() if _is_claimed(o.status)),
        *((r, "a request") for r in records.region.requests.values() if _is_claimed(r.status)),
    ]
    for record, what in taken:
        run = records.runs.get(record.claimed_by) if record.claimed_by else None
        if run is None or run.status is not RunStatus.RUNNING:
            how = run.status if run else "not on record"
            detail = f"{what} ({record.id}) is held by a run that is {how}"
            remedy = records.command(record.flow_id)
            yield Finding(Fault.STUCK, records.name(record.flow_id), detail, remedy)


def _is_claimed(status: OpeningStatus | RequestStatus) -> bool:
    return status in (OpeningStatus.CLAIMED, RequestStatus.CLAIMED)


def _gates(records: Records, draft: Draft) -> Iterator[Finding]:
    """Find gates that have to open and did not, and statuses that the inputs contradict."""
    for flow in records.region.flows.values():
        name, remedy = records.name(flow.id), records.command(flow.id)
        if flow.status is FlowStatus.READY and gate.due_by_input(draft, flow.id):
            detail = "it is READY, but its inputs or its configuration are newer"
            yield Finding(Fault.LOST, name, detail, remedy)
        if flow.status is FlowStatus.STALE and _is_needlessly_stale(draft, flow.id):
            detail = "it is STALE, but it has read what its upstreams hold"
            yield Finding(Fault.STUCK, name, detail, remedy)
        for edge in draft.upstream_edges(flow.id):
            if edge.consumed > records.region.flows[edge.upstream].generation:
                detail = f"it read generation {edge.consumed} of {records.name(edge.upstream)}"
                yield Finding(Fault.LOST, name, f"{detail}, which does not exist", remedy)
        if _is_unannounced(draft, flow.id):
            detail = "its gate is open and it is due, but nothing starts it"
            yield Finding(Fault.LOST, name, detail, remedy)


def _is_needlessly_stale(draft: Draft, flow_id: UUID) -> bool:
    tried = Draft(draft.before, draft.now)
    reconsider(tried, [flow_id])
    return tried.flows[flow_id].status is FlowStatus.READY


def _is_unannounced(draft: Draft, flow_id: UUID) -> bool:
    tried = Draft(draft.before, draft.now)
    gate.evaluate(tried, flow_id)
    return bool(tried.announced)
