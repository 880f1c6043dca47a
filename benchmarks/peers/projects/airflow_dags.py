"""One DAG with one task for each asset; the events of its upstreams' assets start it.

Every upstream has to be new before a DAG runs (``schedule`` is a list, so all of it). A task that
parses this file makes only its own DAG, as Airflow's guide on many generated DAGs recommends.
"""

from __future__ import annotations

from typing import Any

from airflow.sdk import DAG, Asset, BaseOperator, get_parsing_context
from body import read_graph, run_body


class Body(BaseOperator):
    """Run the empty body of an asset; cheaper to import than an operator of a provider."""

    def __init__(self, *, upstreams: list[str], **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.upstreams = upstreams

    def execute(self, context: Any) -> None:
        """Called by Airflow in a process of the task's own."""
        run_body(self.dag_id, self.upstreams, context["run_id"])


def make_dag(name: str, upstreams: list[str]) -> Any:
    """Make the DAG of an asset."""
    schedule = [Asset(upstream) for upstream in upstreams] or None
    with DAG(name, schedule=schedule, catchup=False, is_paused_upon_creation=False) as made:
        Body(task_id="body", outlets=[Asset(name)], upstreams=upstreams)
    return made


wanted = get_parsing_context().dag_id
for asset, read in read_graph().items():
    if wanted in (None, asset):
        globals()[f"dag_{asset}"] = make_dag(asset, read)
