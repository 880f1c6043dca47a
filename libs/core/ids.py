"""Names that people and external tools rely on: deployments, tags, events, block documents."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from prefect_instances.libs.core.status import FlowKind, FlowStatus, InstanceType

NAME = re.compile(r"(?=.{1,63}\Z)[A-Za-z][A-Za-z0-9]*(_[A-Za-z0-9]+)*\Z")
"""A valid name of a project or instance; names are unique regardless of case.

Double underscores are not allowed because block document names write ``_`` as ``-`` and join
project and instance by ``--``: two instances must never share a document.
"""

NAME_HELP = "use letters, digits and single underscores; start with a letter; at most 63 characters"

WORK_POOL = "instances"

FLOW_OF_KIND: dict[str, str] = {
    FlowKind.REFRESH: "refresh-dataset",
    FlowKind.PREVIEW: "preview-experiment",
    FlowKind.TRAINING: "train-model",
    FlowKind.INFERENCE: "run-inference",
    FlowKind.MONITORING: "monitor-model",
    FlowKind.OPTIMIZE: "optimize-portfolio",
    FlowKind.BACKTEST: "run-backtest",
}

DEFINITION_FLOW = "run-definition-flow"
"""The Prefect flow that executes all flows that definitions add."""

EXECUTION_TAG = "instances-execution"
"""The tag of every execution deployment and of its runs; automations match it."""


KIND_TAG, INSTANCE_NAME_TAG = "flow-kind", "name"
"""Prefixes of two tags of an execution deployment: its flow kind and its instance's name."""


def build_run_name(label: str, kind: str, cause: str) -> str:
    """Build the name of a flow run, such as ``prices refresh · gate``.

    ``label`` is the name of the instance, with or without its project.
    """
    return f"{label.rpartition('/')[2]} {kind} · {cause}"


def read_run_name(tags: Iterable[str], parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    """Return the name of a flow run by its tags and its cause.

    Empty if the tags name no instance or kind, as with flows of others.
    """
    labels = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    name, kind = labels.get(INSTANCE_NAME_TAG), labels.get(KIND_TAG)
    cause = _read_cause(parameters, scheduled=scheduled)
    return build_run_name(name, kind, cause) if name and kind else ""


def _read_cause(parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    if parameters.get("opening"):
        return "gate"
    if scheduled:
        return "schedule"
    return "backfill" if parameters.get("start") else "manual"


DATABASE_TAG = "database"
"""Prefix of the tag that binds a run to one database."""


def database_tag(identity: UUID) -> str:
    """Return the tag of a run that only the database with this identity may execute."""
    return f"{DATABASE_TAG}:{identity}"


def flow_name(kind: str) -> str:
    """Return the name of the Prefect flow that executes a kind of flow."""
    return FLOW_OF_KIND.get(kind, DEFINITION_FLOW)


def deployment_name(project: str, instance: str, kind: str) -> str:
    """Return the part after the slash in ``refresh-dataset/demo.sp500_prices``.

    Flows that definitions add share one Prefect flow, so the kind is part of the name:
    ``run-definition-flow/demo.sp500_prices.quality``.
    """
    name = f"{project}.{instance}"
    return name if kind in FLOW_OF_KIND else f"{name}.{kind}"


def deployment_tags(
    instance_id: UUID, project: str, type_: InstanceType | str, kind: str, name: str
) -> list[str]:
    """Return the tags of the deployment of one flow of one instance."""
    return [
        f"instance:{instance_id}",
        f"project:{project}",
        f"type:{type_}",
        f"{KIND_TAG}:{kind}",
        f"{INSTANCE_NAME_TAG}:{name}",
        EXECUTION_TAG,
    ]


def block_document_name(project: str, instance: str) -> str:
    """Return the name of the block document that holds the instance's configuration.

    Prefect allows lower-case letters, digits and dashes only, so underscores become dashes.
    """
    return f"{project}--{instance}".lower().replace("_", "-")


BLOCK_OF_TYPE: dict[str, str] = {
    InstanceType.DATASET: "dataset-instance",
    InstanceType.SIGNAL: "signal-instance",
    InstanceType.EXPERIMENT: "experiment-instance",
    InstanceType.MODEL: "model-instance",
    InstanceType.OPTIMIZER: "portfolio-optimizer-instance",
    InstanceType.BACKTEST: "backtest-instance",
}
"""Slug of the Prefect block type that holds the configuration of an instance type."""


def flow_resource(flow_id: UUID) -> str:
    """Return the Prefect event resource id of one flow of an instance."""
    return f"instance.flow.{flow_id}"


def instance_resource(instance_id: UUID) -> str:
    """Return the Prefect event resource id of an instance or project."""
    return f"instance.{instance_id}"


def deployment_resources(deployment_ids: Iterable[UUID | None]) -> tuple[dict[str, str], ...]:
    """Return the related resources of an event for these deployments; None is left out."""
    return tuple(
        {
            "prefect.resource.id": f"prefect.deployment.{id_}",
            "prefect.resource.role": "deployment",
        }
        for id_ in deployment_ids
        if id_ is not None
    )


def instance_channel(instance_id: UUID) -> str:
    """Return the Centrifugo channel for an instance's status."""
    return f"instance:{instance_id}:status"


def project_channel(project_id: UUID) -> str:
    """Return the Centrifugo channel for the statuses of all instances of a project."""
    return f"project:{project_id}:status"


GATE_OPENED = "instance.gate.opened"
RUN_PROGRESS = "instance.run.progress"
STATUS_CHANGED = "instance.status.changed"
SLA_BREACHED = "instance.sla.breached"
REQUEST_MERGED = "instance.request.merged"
DRIFT_DETECTED = "instance.data-drift.detected"
PROVISIONED = "instance.provisioned"
UPDATED = "instance.updated"
DEPROVISIONED = "instance.deprovisioned"
PROMOTED = "instance.promoted"
DIVERGED = "instance.diverged"


def flow_event(status: FlowStatus) -> str:
    """Return the event name for a status: ``instance.flow.ready`` for READY, and so on."""
    return "instance.flow." + status.value.lower().replace("_", "-")
