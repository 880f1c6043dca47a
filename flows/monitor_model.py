"""The execution flow of monitoring."""

from __future__ import annotations

from typing import Any

from prefect import flow

from prefect_instances.flows.execution_run import asked_for, executed
from prefect_instances.flows.naming import name_run
from prefect_instances.libs.core.status import FlowKind


@flow(name="monitor-model", flow_run_name=name_run, persist_result=False)
def monitor_model(
    instance: str,
    opening: str | None = None,
    force: bool = False,
    recursive: bool = False,
    smart: bool = False,
) -> Any:
    """Compare predictions with what happened, and features with what they were.

    Args:
        instance: Id of the instance; the deployment knows it.
        opening: The gate opening that this run is for; set by the automation, never by hand.
        force: Run on the last published inputs whatever their status, and publish even if the
            output is unchanged.
        recursive: Refresh what is stale upstream first, in order; this run then comes by itself.
        smart: Skip the run if the output is fresh already.
    """
    asked = asked_for(force=force, recursive=recursive, smart=smart)
    return executed(FlowKind.MONITORING, instance, opening, asked)
