"""The execution flow of datasets and signals."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from prefect import flow

from prefect_instances.flows.execution_run import build_parameters, run_execution
from prefect_instances.flows.naming import name_run
from prefect_instances.libs.core.status import FlowKind


@flow(name="refresh-dataset", flow_run_name=name_run, persist_result=False)
def refresh_dataset(  # noqa: PLR0913  # what a person may ask of one run
    instance: str,
    opening: str | None = None,
    mode: Literal["incremental", "full"] = "incremental",
    as_of: date | None = None,
    force: bool = False,
    recursive: bool = False,
    smart: bool = False,
    start: date | None = None,
    end: date | None = None,
    accept_loss: bool = False,
) -> Any:
    """Refresh a dataset or signal: read the pinned inputs, extract, store and publish.

    Args:
        instance: Id of the instance. The deployment sets it.
        opening: Id of the gate opening to claim. The automation sets it; leave it empty.
        mode: incremental reads what is new, full reads the whole history again.
        as_of: Newest day of data to read. Empty: no limit.
        force: Run on the last published inputs, whatever their status, and publish even if the
            output is unchanged.
        recursive: First refresh what is stale upstream. This run starts automatically afterwards.
        smart: Skip the run if the output is already fresh.
        start: First day of the history to read again. Empty: read what is new.
        end: Last day of the history to read again. Empty: no limit.
        accept_loss: Publish the rows even if they lack dates, symbols, rows or columns of the
            current version, or change the type of a column.
    """
    asked = build_parameters(
        mode,
        as_of,
        force,
        recursive=recursive,
        smart=smart,
        start=start,
        end=end,
        accept_loss=accept_loss,
    )
    return run_execution(FlowKind.REFRESH, instance, opening, asked)
