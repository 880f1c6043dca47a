"""Read a past range of dates of a dataset or signal again."""

from __future__ import annotations

from datetime import date
from typing import Any, Literal
from uuid import UUID

from prefect import flow, get_run_logger
from prefect.artifacts import create_progress_artifact, update_progress_artifact
from prefect.states import Completed

from prefect_instances.flows.reporting import current_run_id, report_errors
from prefect_instances.libs.core.backfill import Chunk
from prefect_instances.libs.services.runs.backfilling import BackfillRequest, Progress, backfill
from prefect_instances.libs.wiring import connect

ARTIFACT = "backfill"


@flow(
    name="backfill-instance",
    flow_run_name="backfill {instance} {start} to {end}",
    persist_result=False,
)
def backfill_instance(
    instance: str,
    start: date,
    end: date,
    chunk: Literal["day", "week", "month", "quarter", "year", "all"] = "month",
    downstream: bool = False,
) -> Any:
    """Read a past range of dates of a dataset or signal again, in several runs.

    If the source has revised its history, a new version is published and its downstreams run.
    After a failure, start it again with the same parameters: it continues where it stopped.

    Args:
        instance: Name, project/name or id of the instance.
        start: First day to read.
        end: Last day to read.
        chunk: Range of dates that one run reads.
        downstream: Also run downstream flows that their upstreams do not trigger, such as
            trainings and backtests.
    """
    asked = BackfillRequest(start, end, Chunk(chunk), downstream)
    return report_errors(lambda: _backfill(instance, asked))


def _backfill(reference: str, asked: BackfillRequest) -> Any:
    bar = create_progress_artifact(0.0, description=f"Backfill of {reference}")
    assert isinstance(bar, UUID)

    def tell(progress: Progress) -> None:
        if progress.piece is not None:
            get_run_logger().info("%s", progress)
        share = 100.0 * progress.done / progress.total
        update_progress_artifact(bar, share, description=str(progress))

    with connect() as services:
        found = backfill(services, reference, asked, tell)
        services.prefect.create_artifact(
            ARTIFACT, "table", found, f"Backfill of {reference}", current_run_id()
        )
    return Completed(message=sentence(found))


def sentence(found: list[dict[str, Any]]) -> str:
    """Summarise a backfill in one line."""
    versions = [row for row in found if row["generation"] is not None]
    told = f"{len(found)} pieces read"
    if not versions:
        return f"{told}: nothing differs from what is stored"
    since = min((row["changed_from"] for row in versions if row["changed_from"]), default=None)
    many = f"{len(versions)} new versions" if len(versions) > 1 else "1 new version"
    return f"{told}: {many}" + (f", changed from {since} on" if since else "")
