"""The safety net, on a schedule."""

from __future__ import annotations

from typing import Any

from prefect import flow, get_run_logger
from prefect.states import Completed

from flows.reporting import reported
from libs.services.accounts import sweep
from libs.wiring import connect


@flow(name="sweep-freshness", persist_result=False)
def sweep_freshness() -> Any:
    """Find past-due flows, dead runs, unpublished events and unclaimed openings; act on each."""
    return reported(_sweep)


def _sweep() -> Any:
    with connect() as services:
        swept = sweep(services)
        if swept.idle:
            return Completed(message="nothing to do")
        message = (
            f"{swept.past_due} past due, {swept.dead_runs} dead runs ended, "
            f"{swept.published} events published, {swept.started} openings started"
        )
        get_run_logger().info(message)
        return Completed(message=message)
