"""Diagnosis of a flow that is not READY: its chain of blocking flows down to the root causes."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect_instances.libs.core import gate
from prefect_instances.libs.core.records import FlowState
from prefect_instances.libs.core.status import MESSAGES, OVERTAKEN, FlowStatus, Lifecycle, Reason
from prefect_instances.libs.core.unit_of_work import Draft


@dataclass(frozen=True, slots=True)
class Finding:
    """One flow in the chain of a diagnosis.

    ``waits_for`` are the flows that it waits for. A flow without any is a root cause, and
    ``remedy`` says what would unblock it. ``why`` is a sentence without the flow's name.
    ``next_at`` is when the flow continues by itself; None if that is unknown or will not happen.
    """

    flow_id: UUID
    instance: str
    kind: str
    status: FlowStatus
    reason: Reason
    since: datetime | None
    why: str
    waits_for: tuple[UUID, ...] = ()
    remedy: str = ""
    next_at: datetime | None = None

    @property
    def label(self) -> str:
        """``INSTANCE.KIND``, such as ``sp500_prices.refresh``."""
        return f"{self.instance}.{self.kind}"

    def __str__(self) -> str:
        since = f" since {self.since.isoformat(timespec='seconds')}" if self.since else ""
        return f"{self.label}: {self.status} {self.reason}{since}: {self.why}"


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What a flow waits for; ``chain`` begins with the flow and ends with the root causes."""

    chain: tuple[Finding, ...]

    @property
    def subject(self) -> Finding:
        """The flow that the diagnosis is about."""
        return self.chain[0]

    @property
    def roots(self) -> tuple[Finding, ...]:
        """The findings that wait for no other; empty if the flow is READY and waits for none."""
        if self.subject.status is FlowStatus.READY and not self.subject.waits_for:
            return ()
        return tuple(finding for finding in self.chain if not finding.waits_for)

    def sentence(self) -> str:
        """Return the diagnosis as one sentence."""
        subject = self.subject
        if not subject.waits_for:
            return str(subject)
        return f"{subject.label} waits for {'; '.join(map(str, self.roots))}"


def diagnose_each(draft: Draft, flow_ids: Iterable[UUID]) -> dict[UUID, Diagnosis]:
    """Diagnose several flows; a common ancestor is examined once."""
    known: dict[UUID, Finding] = {}
    return {flow_id: Diagnosis(_chain(draft, flow_id, known)) for flow_id in flow_ids}


def _chain(draft: Draft, flow_id: UUID, known: dict[UUID, Finding]) -> tuple[Finding, ...]:
    """Return the flow and all that it waits for, nearest first; adds them to ``known``."""
    found: dict[UUID, Finding] = {}
    queue = deque([flow_id])
    while queue:
        current = queue.popleft()
        if current in found:
            continue
        if current not in known:
            known[current] = _finding(draft, draft.flows[current])
        found[current] = known[current]
        queue.extend(found[current].waits_for)
    return tuple(found.values())


def _finding(draft: Draft, flow: FlowState) -> Finding:
    waits = _waits_for(draft, flow)
    why, remedy = ("it waits for its upstreams", "") if waits else _root(draft, flow)
    return Finding(
        flow_id=flow.id,
        instance=draft.instance_of(flow).name,
        kind=flow.kind,
        status=flow.status,
        reason=flow.reason,
        since=flow.since,
        why=why,
        waits_for=waits,
        remedy=remedy,
        next_at=None if waits else _next_at(draft, flow),
    )


def _waits_for(draft: Draft, flow: FlowState) -> tuple[UUID, ...]:
    """Return the upstreams that block a flow, or that must run before it is due.

    A READY flow waits only if it has a request. An ERROR without a request or newer inputs is its
    own root cause. An instance that is not ACTIVE waits for a person.
    """
    if flow.status is FlowStatus.RUNNING or not draft.is_active(flow):
        return ()
    request = draft.pending_request(flow.id)
    asked = request is not None
    if flow.status is FlowStatus.READY and not asked:
        return ()
    if flow.status is FlowStatus.ERROR and not asked and not gate.due_by_input(draft, flow.id):
        return ()
    waits = [blocker.flow_id for blocker in gate.check_upstream_freshness(draft, flow.id, request)]
    if flow.reason in OVERTAKEN and not gate.due_by_input(draft, flow.id):
        waits += [
            edge.upstream
            for edge in draft.upstream_edges(flow.id)
            if edge.triggers and draft.flows[edge.upstream].status is not FlowStatus.READY
        ]
    return tuple(dict.fromkeys(waits))


def _root(draft: Draft, flow: FlowState) -> tuple[str, str]:
    """Return why a flow that waits for no other flow has its status, and what would change it."""
    instance = draft.instance_of(flow)
    name = f"{instance.project}/{instance.name}"  # another project may use the same name
    said = flow.detail or MESSAGES[flow.reason]
    if not draft.is_active(flow):
        return _not_active(instance.lifecycle, name)
    if flow.status is FlowStatus.READY:
        return said, ""
    if flow.status is FlowStatus.RUNNING:
        return said, "wait for the run to end"
    if _next_at(draft, flow) is not None and draft.pending_request(flow.id):
        return said, "it is retried automatically"
    if draft.unclaimed(flow.id):
        return "a run has been requested", "a worker must be running: see `instances doctor`"
    run = f"instances run {name} --flow {flow.kind}"
    return said, _REMEDIES.get(flow.reason, "run it: `{run}`").format(run=run)


_REMEDIES: Mapping[Reason, str] = {
    Reason.RUN_FAILED: "correct the cause, then `{run}`",
    Reason.RUN_CRASHED: "find out why the process died (memory?), then `{run}`",
    Reason.DEFINITION_UNAVAILABLE: "correct what the message says, then `{run}`",
    Reason.SOURCE_DELAYED: "wait for the source; the next slot runs it again, and so does `{run}`",
}


def _not_active(lifecycle: Lifecycle, name: str) -> tuple[str, str]:
    if lifecycle is Lifecycle.PAUSED:
        return "the instance is paused", f"`instances resume {name}`"
    if lifecycle is Lifecycle.DEPROVISIONING:
        return "the instance is being removed", "wait; afterwards you can apply it again"
    return f"the instance is {lifecycle}", f"see `instances show {name}`, then apply it again"


def _next_at(draft: Draft, flow: FlowState) -> datetime | None:
    """Return when a flow runs next by itself; None if unknown or already past."""
    found = _planned_at(draft, flow)
    return found if found is not None and found > draft.now else None


def _planned_at(draft: Draft, flow: FlowState) -> datetime | None:
    if not draft.is_active(flow):
        return None
    request = draft.pending_request(flow.id)
    times = [opening.not_before for opening in draft.unclaimed(flow.id)]
    times += [request.not_before] if request else []
    if times:
        return min(times)
    return flow.next_due_at
