"""Show a plan in the log and as an artifact."""

from __future__ import annotations

from prefect import get_run_logger

from prefect_instances.flows.reporting import current_run_id
from prefect_instances.libs.core.plan import Plan, format_lines, summarize
from prefect_instances.libs.services.state.context import Services


def show_plan(services: Services, planned: Plan) -> None:
    """Write a plan to the log and to the artifact ``plan``."""
    text = list(format_lines(planned))
    for line in text:
        get_run_logger().info("%s", line)
    page = "\n".join(["## Plan", "", "```diff", *text, "```"])
    services.prefect.create_artifact("plan", "markdown", page, summarize(planned), current_run_id())
