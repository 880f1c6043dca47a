"""Repeat a run on its recorded inputs."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect import flow, get_run_logger

from prefect_instances.flows.reporting import current_run_id, report_errors
from prefect_instances.libs.services.runs.rerun import RerunComparison, rerun
from prefect_instances.libs.wiring import connect


@flow(name="rerun-run", flow_run_name="repeat run {run}", persist_result=False)
def rerun_run(run: UUID) -> Any:
    """Repeat a run on the same inputs and compare the outputs. Nothing is published.

    Args:
        run: Id of the run. `instances runs NAME` lists the ids.
    """
    return report_errors(lambda: _rerun(run))


def _rerun(run: UUID) -> Any:
    with connect() as services:
        flow_run_id = current_run_id()
        comparison = rerun(services, run, flow_run_id)
        get_run_logger().info("%s", sentence(comparison))
        key = f"rerun-{comparison.run_id}"
        services.prefect.create_artifact(
            key,
            "markdown",
            page(comparison),
            "Comparison of a repeated run with the original",
            flow_run_id,
        )
        return comparison.document()


def sentence(comparison: RerunComparison) -> str:
    """Summarise a comparison in one line, for the log and the terminal."""
    name = f"{comparison.instance} {comparison.kind} run {comparison.run_id}"
    verb = "is" if comparison.compared == "output" else "are"
    if comparison.identical:
        return f"{name}: the {comparison.compared} {verb} identical, bit for bit"
    counts = {key: value for key, value in comparison.differences.items() if key != "sample"}
    told = ", ".join(f"{key.replace('_', ' ')} {value}" for key, value in counts.items() if value)
    return f"{name}: the {comparison.compared} differ{'s' if verb == 'is' else ''}: {told}"


def page(comparison: RerunComparison) -> str:
    """Describe a comparison as Markdown."""
    lines = [f"## Rerun of {comparison.instance}", "", sentence(comparison), ""]
    sample = comparison.differences.get("sample")
    if isinstance(sample, list) and sample:
        headers = list(sample[0])
        lines += ["| " + " | ".join(headers) + " |", "|" + "---|" * len(headers)]
        lines += ["| " + " | ".join(str(row[key]) for key in headers) + " |" for row in sample]
    return "\n".join(lines)
