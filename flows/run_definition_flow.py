"""The execution flow of every flow that a definition adds."""

from __future__ import annotations

from typing import Any

from prefect import flow

from prefect_instances.flows.execution_run import asked_for, executed
from prefect_instances.flows.naming import name_run


@flow(name="run-definition-flow", flow_run_name=name_run, persist_result=False)
def run_definition_flow(
    instance: str,
    kind: str,
    opening: str | None = None,
    force: bool = False,
    recursive: bool = False,
    smart: bool = False,
) -> Any:
    """Do what the instance's definition says that this flow of it does.

    Args:
        instance: Id of the instance; the deployment knows it.
        kind: Which flow of the instance; the deployment knows it.
        opening: The gate opening that this run is for; set by the automation, never by hand.
        force: Run on the last published inputs whatever their status, and publish even if the
            output is unchanged.
        recursive: Refresh what is stale upstream first, in order; this run then comes by itself.
        smart: Skip the run if the output is fresh already.
    """
    asked = asked_for(force=force, recursive=recursive, smart=smart)
    return executed(kind, instance, opening, asked)
