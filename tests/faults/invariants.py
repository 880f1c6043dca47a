"""What holds of the runs of one round, whatever was struck: once, on new inputs, of one refresh."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from sqlalchemy import select
from sqlalchemy.orm import Session

from prefect_instances.libs.core.status import RunStatus
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    LineageEdge,
    Resource,
    RunRecord,
)

SOURCES = ("prices", "index")
Key = tuple[str, int]
"""A flow (``instance.kind``) and one of its generations."""


@dataclass(frozen=True, slots=True)
class FlowFact:
    """One flow as it stands."""

    name: str
    status: str
    generation: int
    version_id: UUID | None


@dataclass(frozen=True, slots=True)
class RunFact:
    """One run; ``read`` are the generations that it read over triggering edges, by flow."""

    flow: str
    status: str
    read: Mapping[str, int]
    made: UUID | None
    retries: int = 0


@dataclass(frozen=True)
class Facts:
    """All flows, the triggering upstreams of each, and all runs, oldest first."""

    flows: Mapping[str, FlowFact]
    upstreams: Mapping[str, frozenset[str]]
    runs: Sequence[RunFact]
    versions: Mapping[UUID, Key]


def read_facts(session: Session) -> Facts:
    """Read everything that the checks compare."""
    flow = FlowExecutionResource
    rows = session.execute(
        select(flow, Resource.name).join(Resource, Resource.id == flow.instance_id)
    ).all()
    names = {row[0].id: f"{row[1]}.{row[0].kind}" for row in rows}
    upstreams: dict[str, set[str]] = defaultdict(set)
    for edge in session.scalars(select(LineageEdge).where(LineageEdge.triggers)):
        upstreams[names[edge.downstream_flow_id]].add(names[edge.upstream_flow_id])
    runs = session.scalars(select(RunRecord).order_by(RunRecord.started_at))
    versions = session.scalars(select(DatasetVersion))
    return Facts(
        {
            names[one.id]: FlowFact(names[one.id], one.status, one.generation, one.version_id)
            for one, _ in rows
        },
        {name: frozenset(some) for name, some in upstreams.items()},
        [_run(run, names, upstreams) for run in runs],
        {one.id: (names[one.flow_id], one.generation) for one in versions},
    )


def _run(run: RunRecord, names: Mapping[UUID, str], upstreams: Mapping[str, set[str]]) -> RunFact:
    name = names[run.flow_id]
    read = {names[UUID(str(pin["flow"]))]: int(pin["generation"]) for pin in run.pins}
    triggering = {up: generation for up, generation in read.items() if up in upstreams[name]}
    return RunFact(name, run.status, triggering, run.output_version, run.retries)


def find_doubled(facts: Facts, since: int) -> list[str]:
    """Tell which flow succeeded more than once on the same inputs; runs from ``since`` on."""
    succeeded = Counter(
        (run.flow, tuple(sorted(run.read.items())))
        for run in facts.runs[since:]
        if run.status == RunStatus.COMPLETED and run.read
    )
    return [
        f"{flow} ran {n} times on {dict(read)}" for (flow, read), n in succeeded.items() if n > 1
    ]


def find_miscounted(facts: Facts, since: int, expected: Iterable[str]) -> list[str]:
    """Tell which flow did not succeed exactly once among the runs from ``since`` on."""
    counts = Counter(run.flow for run in facts.runs[since:] if run.status == RunStatus.COMPLETED)
    return [f"{flow} succeeded {counts[flow]} times" for flow in expected if counts[flow] != 1]


def find_mixed(facts: Facts, sources: Iterable[str] = SOURCES) -> list[str]:
    """Tell whose current output was computed from several generations of one of the sources."""
    made = {run.made: run for run in facts.runs if run.status == RunStatus.COMPLETED and run.made}
    newest = {run.flow: run for run in facts.runs if run.status == RunStatus.COMPLETED}
    by_key = {key: made[id_] for id_, key in facts.versions.items() if id_ in made}
    seen: dict[Key, set[Key]] = {}
    found = []
    for flow, run in newest.items():
        roots = _roots(run, by_key, seen)
        several = [s for s in sources if sum(r[0] == f"{s}.refresh" for r in roots) > 1]
        if several:
            found.append(f"{flow} mixes generations: {sorted(roots)}")
    return found


def _roots(run: RunFact, by_key: Mapping[Key, RunFact], seen: dict[Key, set[Key]]) -> set[Key]:
    """Return the generations of the sources from which a run's inputs were computed."""
    found: set[Key] = set()
    for key in run.read.items():
        if key not in seen:
            above = by_key.get(key)
            seen[key] = _roots(above, by_key, seen) if above and above.read else {key}
        found |= seen[key]
    return found


def find_behind(facts: Facts) -> list[str]:
    """Tell which flow's last success read something else than its upstreams' current output."""
    newest = {run.flow: run for run in facts.runs if run.status == RunStatus.COMPLETED}
    return [
        f"{flow} read {up} {generation}, which is at {facts.flows[up].generation}"
        for flow, run in newest.items()
        for up, generation in run.read.items()
        if facts.flows[up].generation != generation
    ]


def descendants(facts: Facts, source: str) -> set[str]:
    """List the flows that a refresh of a source reaches over triggering edges, with the source."""
    reached = {source}
    while more := {f for f, ups in facts.upstreams.items() if ups & reached} - reached:
        reached |= more
    return reached
