"""What flow runs are called in every list of Prefect: instance, flow kind and cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.context import FlowRunContext

from prefect_instances.libs.core.ids import INSTANCE_NAME_TAG, KIND_TAG


def name_run() -> str:
    """Name the present flow run of an instance, like ``prices refresh · gate``."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("this is only callable inside a flow run")
    run = context.flow_run
    return run_name(run.tags, context.parameters or {}, scheduled=bool(run.auto_scheduled)) or (
        run.name
    )


def run_name(tags: Iterable[str], parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    """Say which instance and flow kind the tags of a run name, and what made the run.

    Empty where the tags name none, as those of a deployment from before they did.
    """
    labels = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    name, kind = labels.get(INSTANCE_NAME_TAG), labels.get(KIND_TAG)
    return f"{name} {kind} · {_cause(parameters, scheduled=scheduled)}" if name and kind else ""


def _cause(parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    if parameters.get("opening"):
        return "gate"
    if scheduled:
        return "schedule"
    return "backfill" if parameters.get("start") else "manual"
