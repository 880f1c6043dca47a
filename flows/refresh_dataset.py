"""The execution flow of datasets and signals."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal

from prefect import flow

from prefect_instances.flows.execution_run import asked_for, executed
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
    """Refresh a dataset or signal: read what is pinned, extract, store, publish.

    Args:
        instance: Id of the instance; the deployment knows it.
        opening: The gate opening that this run is for; set by the automation, never by hand.
        mode: incremental adds to what is stored, full reads everything anew.
        as_of: Newest day of data to read; empty for all there is.
        force: Run on the last published inputs whatever their status, and publish even if the
            output is unchanged.
        recursive: Refresh what is stale upstream first, in order; this run then comes by itself.
        smart: Skip the run if the output is fresh already.
        start: Read the history from this day on anew; empty to read what is new.
        end: Last day of the history to read anew; empty for all there is from the start on.
        accept_loss: Publish what is read even if it has lost dates, symbols, rows or columns that
            the current version has, or changed the type of a column.
    """
    asked = asked_for(
        mode,
        as_of,
        force,
        recursive=recursive,
        smart=smart,
        start=start,
        end=end,
        accept_loss=accept_loss,
    )
    return executed(FlowKind.REFRESH, instance, opening, asked)
