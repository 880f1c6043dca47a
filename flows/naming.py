"""Names of flow runs in Prefect: instance, kind of flow and cause."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from prefect.context import FlowRunContext

from prefect_instances.libs.core.ids import INSTANCE_NAME_TAG, KIND_TAG, build_run_name


def name_run() -> str:
    """Name the current flow run of an instance, for example ``prices refresh · gate``."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("this is only callable inside a flow run")
    run = context.flow_run
    scheduled = bool(run.auto_scheduled)
    return read_run_name(run.tags, context.parameters or {}, scheduled=scheduled) or run.name


def read_run_name(tags: Iterable[str], parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    """Return the name of a run by its tags and its cause.

    Empty if the tags name no instance or kind, as with deployments of older versions.
    """
    labels = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    name, kind = labels.get(INSTANCE_NAME_TAG), labels.get(KIND_TAG)
    cause = _cause(parameters, scheduled=scheduled)
    return build_run_name(name, kind, cause) if name and kind else ""


def _cause(parameters: Mapping[str, Any], *, scheduled: bool) -> str:
    if parameters.get("opening"):
        return "gate"
    if scheduled:
        return "schedule"
    return "backfill" if parameters.get("start") else "manual"
