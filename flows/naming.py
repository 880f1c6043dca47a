"""Names of flow runs in Prefect; in its lists they are what people see."""

from __future__ import annotations

from prefect.context import FlowRunContext

from prefect_instances.libs.core.ids import read_run_name


def name_run() -> str:
    """Name the current flow run of an instance, for example ``prices refresh · gate``."""
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("this is only callable inside a flow run")
    run = context.flow_run
    scheduled = bool(run.auto_scheduled)
    return read_run_name(run.tags, context.parameters or {}, scheduled=scheduled) or run.name


def name_apply() -> str:
    """Name the current run of ``apply-manifest``, for example ``apply demo``."""
    context = FlowRunContext.get()
    manifest = (context.parameters or {}).get("manifest") if context else None
    project = manifest.get("project") if isinstance(manifest, dict) else None
    return f"apply {project}" if isinstance(project, str) else "apply"
