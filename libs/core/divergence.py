"""Comparison of the database's records with Prefect, MLflow and Evidently; pure.

``RecordedInstance`` is one instance as the database holds it, ``Observation`` what was observed in
the other systems. Only settled instances are compared: while an instance is provisioned, changed or
removed, the process that does so is responsible for it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID

from prefect_instances.libs.core.differences import find_differences
from prefect_instances.libs.core.status import FlowKind


class Divergence(StrEnum):
    """The kinds of divergence."""

    DEPLOYMENT_MISSING = "deployment missing"
    DEPLOYMENT_EDITED = "deployment edited"
    DEPLOYMENT_EXTRA = "second deployment"
    DEPLOYMENT_UNKNOWN = "deployment without instance"
    AUTOMATION_MISSING = "automation missing"
    AUTOMATION_CHANGED = "automation changed"
    AUTOMATION_OFF = "automation switched off"
    DOCUMENT_MISSING = "block deleted"
    DOCUMENT_CHANGED = "block changed"
    DOCUMENT_FAULTY = "block invalid"
    EXTERNAL_MISSING = "external resource missing"
    OUTPUT_LOST = "output lost"
    RUN_ENDED = "run already ended in Prefect"
    LIFECYCLE_MISSING = "lifecycle deployment missing"
    LIFECYCLE_STALE = "lifecycle deployment without flow"


@dataclass(frozen=True, slots=True)
class RecordedInstance:
    """One settled instance as the database holds it.

    ``deployments`` maps each flow kind to its deployment id, None if none was recorded.
    ``externals`` names its external resources; ``document`` is its configuration.
    """

    id: UUID
    label: str
    document: Mapping[str, Any]
    document_id: UUID | None
    deployments: Mapping[str, UUID | None]
    externals: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenDeployment:
    """An observed deployment that executes, or executed, a flow of an instance.

    ``edits`` say in readable lines how it differs from the configuration.
    """

    id: UUID
    full_name: str
    instance_id: UUID | None
    kind: str
    edits: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenDocument:
    """An observed block document: its configuration, or why it cannot be read."""

    document: Mapping[str, Any] | None
    fault: str = ""


@dataclass(frozen=True, slots=True)
class SeenAutomation:
    """One of our automations: whether it exists, is enabled, and which fields differ."""

    name: str
    present: bool
    enabled: bool
    differing: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class SeenRun:
    """A run that is RUNNING in the database; ``ended`` is its final state in Prefect, if any."""

    run_id: UUID
    instance_id: UUID
    label: str
    kind: str
    ended: str
    message: str


@dataclass(frozen=True)
class Observation:
    """What was observed in Prefect, MLflow and Evidently.

    ``known`` holds the ids of all instances, settled or not. ``absent_externals`` are (instance id,
    name of the external resource). ``lost_outputs`` says, by instance id and flow kind, why a
    published output cannot be read. ``documents`` lacks those that were deleted. Lifecycle
    deployments are named ``flow/deployment``: those in ``absent_lifecycle`` were deleted; for those
    in ``stale_lifecycle`` the installed version has no flow.
    """

    known: frozenset[UUID] = frozenset()
    deployments: tuple[SeenDeployment, ...] = ()
    documents: Mapping[UUID, SeenDocument] = field(default_factory=dict)
    absent_externals: frozenset[tuple[UUID, str]] = frozenset()
    lost_outputs: Mapping[tuple[UUID, str], str] = field(default_factory=dict)
    automations: tuple[SeenAutomation, ...] = ()
    runs: tuple[SeenRun, ...] = ()
    absent_lifecycle: tuple[str, ...] = ()
    stale_lifecycle: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Diverged:
    """One divergence of ``part`` of ``subject``, described in readable lines.

    ``instance_id`` is None if it concerns no instance. ``part`` is a flow kind, the name of an
    external resource, or the id of a document, run or deployment.
    """

    kind: Divergence
    subject: str
    part: str
    difference: tuple[str, ...]
    instance_id: UUID | None = None

    @property
    def remedy(self) -> str:
        """What a person does about it; empty if reconcile repairs it."""
        if self.kind is Divergence.OUTPUT_LOST:
            return f"`{build_remedy(self.subject, self.part)}`"
        return REMEDIES.get(self.kind, "")


REMEDIES: Mapping[Divergence, str] = {
    Divergence.AUTOMATION_OFF: "switch it on in Prefect",
    Divergence.DEPLOYMENT_EXTRA: "delete one of them in Prefect",
    Divergence.DEPLOYMENT_UNKNOWN: "`instances reconcile --remove-unknown`",
    Divergence.DOCUMENT_FAULTY: "correct the block in Prefect",
    Divergence.LIFECYCLE_STALE: "`instances deploy`",
}
"""What a person does about a divergence that reconcile only reports."""


def find_divergences(recorded: Iterable[RecordedInstance], world: Observation) -> list[Diverged]:
    """List every divergence, lifecycle flows and automations first: nothing starts without them."""
    instances = list(recorded)
    found = [*_lifecycle(world), *_automations(world)]
    present = {seen.id: seen for seen in world.deployments}
    for instance in instances:
        found += _deployments(instance, present)
        found += _document(instance, world.documents)
        found += _externals(instance, world.absent_externals)
        found += _outputs(instance, world.lost_outputs)
    return [*found, *_runs(world), *_strangers(instances, world)]


def _lifecycle(world: Observation) -> Iterable[Diverged]:
    for name in world.absent_lifecycle:
        lines = ("it is not in Prefect",)
        yield Diverged(Divergence.LIFECYCLE_MISSING, name, "deployment", lines)
    for name in world.stale_lifecycle:
        lines = ("the flow is not installed; `instances deploy` deletes the deployment",)
        yield Diverged(Divergence.LIFECYCLE_STALE, name, "deployment", lines)


def _automations(world: Observation) -> Iterable[Diverged]:
    for seen in world.automations:
        if not seen.present:
            yield _about(Divergence.AUTOMATION_MISSING, seen, "it was deleted")
        elif seen.differing:
            edited = (f"{name} was edited" for name in seen.differing)
            yield _about(Divergence.AUTOMATION_CHANGED, seen, *edited)
        if seen.present and not seen.enabled:
            why = "no run starts automatically; switch it on in Prefect"
            yield _about(Divergence.AUTOMATION_OFF, seen, why)


def _deployments(
    instance: RecordedInstance, present: Mapping[UUID, SeenDeployment]
) -> Iterable[Diverged]:
    for kind, id_ in instance.deployments.items():
        if id_ is None or id_ not in present:
            why = "none is recorded" if id_ is None else f"{id_} is not in Prefect"
            yield _of(instance, Divergence.DEPLOYMENT_MISSING, kind, why)
        elif edits := present[id_].edits:
            yield _of(instance, Divergence.DEPLOYMENT_EDITED, kind, *edits)


def _document(
    instance: RecordedInstance, documents: Mapping[UUID, SeenDocument]
) -> Iterable[Diverged]:
    seen = documents.get(instance.document_id) if instance.document_id else None
    part = str(instance.document_id or "document")
    if seen is None:
        yield _of(instance, Divergence.DOCUMENT_MISSING, part, "it is not in Prefect")
    elif seen.document is None:
        yield _of(instance, Divergence.DOCUMENT_FAULTY, part, seen.fault)
    elif changes := find_differences(instance.document, seen.document):
        yield _of(instance, Divergence.DOCUMENT_CHANGED, part, *map(str, changes))


def _externals(
    instance: RecordedInstance, absent: frozenset[tuple[UUID, str]]
) -> Iterable[Diverged]:
    for name in instance.externals:
        if (instance.id, name) in absent:
            yield _of(instance, Divergence.EXTERNAL_MISSING, name, f"it is not in {name}")


def _outputs(
    instance: RecordedInstance, lost: Mapping[tuple[UUID, str], str]
) -> Iterable[Diverged]:
    for kind in instance.deployments:
        if loss := lost.get((instance.id, kind)):
            yield _of(instance, Divergence.OUTPUT_LOST, kind, loss)


def _runs(world: Observation) -> Iterable[Diverged]:
    for run in world.runs:
        lines = (f"{run.kind} is RUNNING here and {run.ended} in Prefect",)
        part = str(run.run_id)
        yield Diverged(Divergence.RUN_ENDED, run.label, part, lines, run.instance_id)


def _strangers(instances: list[RecordedInstance], world: Observation) -> Iterable[Diverged]:
    """Yield deployments without a row, unless they can replace a missing one by name."""
    settled = {instance.id: instance for instance in instances}
    recorded = {id_ for instance in instances for id_ in instance.deployments.values() if id_}
    for seen in world.deployments:
        if seen.id in recorded:
            continue
        owner = settled.get(seen.instance_id) if seen.instance_id else None
        if seen.instance_id not in world.known:
            why = f"this database has no instance {seen.instance_id}"
            yield Diverged(Divergence.DEPLOYMENT_UNKNOWN, seen.full_name, str(seen.id), (why,))
        elif owner is not None and owner.deployments.get(seen.kind) is not None:
            why = f"{seen.full_name} also executes {seen.kind}; delete it unless you need it"
            yield _of(owner, Divergence.DEPLOYMENT_EXTRA, str(seen.id), why)


def _about(kind: Divergence, seen: SeenAutomation, *lines: str) -> Diverged:
    return Diverged(kind, seen.name, "automation", lines)


def _of(instance: RecordedInstance, kind: Divergence, part: str, *lines: str) -> Diverged:
    return Diverged(kind, instance.label, part, lines, instance.id)


def build_remedy(label: str, kind: str) -> str:
    """Return the command that makes a flow's lost output again; ``label`` is ``project/name``.

    Only a refresh reads a source, so only it has a mode. Other flows compute on the inputs that
    they have, whatever their status.
    """
    command = f"instances run {label}"
    if kind == FlowKind.REFRESH:
        return f"{command} --mode full"
    return f"{command} --flow {kind}" + ("" if kind == FlowKind.TRAINING else " --force")
