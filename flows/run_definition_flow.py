"""The execution flow of every flow that a definition adds."""

from __future__ import annotations

from typing import Any

from prefect import flow

from prefect_instances.flows.execution_run import build_parameters, run_execution
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
    """Run a flow that the definition of the instance adds.

    Args:
        instance: Id of the instance. The deployment sets it.
        kind: The flow of the instance to run. The deployment sets it.
        opening: Id of the gate opening to claim. The automation sets it; leave it empty.
        force: Run on the last published inputs, whatever their status, and publish even if the
            output is unchanged.
        recursive: First refresh what is stale upstream. This run starts automatically afterwards.
        smart: Skip the run if the output is already fresh.
    """
    asked = build_parameters(force=force, recursive=recursive, smart=smart)
    return run_execution(kind, instance, opening, asked)
