"""Links to the pages of MLflow and Evidently about an instance or a run.

Nothing here asks a server. If no pages are served, there are no links.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect_instances.libs.adapters import evidently, mlflow
from prefect_instances.libs.core.addresses import Address
from prefect_instances.libs.core.status import IdleEnd
from prefect_instances.libs.settings import Settings

MLFLOW_RUN, EVIDENTLY_REPORT = "mlflow_run", "evidently_report"
"""Metrics of a training and of a monitoring: the ids by which their pages are found."""


def format_links(links: Mapping[str, str]) -> list[str]:
    """Format the links as Markdown lines after an empty one; no lines if there are no links."""
    text = " · ".join(f"[{title}]({address})" for title, address in links.items())
    return ["", text] if text else []


def mlflow_pages(settings: Settings) -> mlflow.MlflowPages:
    """Return the MLflow pages of ``up --with mlflow``, or of the configured server."""
    return mlflow.MlflowPages(settings.mlflow_ui_url or _public(settings.mlflow_tracking_uri))


def evidently_pages(settings: Settings) -> evidently.EvidentlyPages:
    """Return the Evidently pages of ``up --with evidently``, or of the configured server."""
    return evidently.EvidentlyPages(settings.evidently_ui_url or _public(settings.evidently_url))


def _public(address: str) -> str:
    return Address.parse(address).url if address else ""


def link_instance(settings: Settings, handles: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of an instance's pages in MLflow and Evidently, by title.

    ``handles`` are the instance's ids in other systems, by column name.
    """
    models, monitored = mlflow_pages(settings), evidently_pages(settings)
    experiment = handles.get("mlflow_experiment_id")
    name = handles.get("mlflow_registered_model_name")
    project = handles.get("evidently_project_id")
    found = {
        "MLflow experiment": models.experiment(experiment) if experiment else "",
        "MLflow model": models.model(name) if name else "",
        "Evidently project": monitored.project(project) if project else "",
    }
    return {title: address for title, address in found.items() if address}


def link_flow_runs(ui_url: str, handles: Mapping[str, Any]) -> dict[str, str]:
    """Return the addresses of Prefect's lists of an instance's flow runs, by title.

    One lists all of them, the other those that did no work, by the names of their states.
    ``handles`` are the instance's ids in other systems, by column name. Empty without deployments.
    """
    named = [value for column, value in handles.items() if column.endswith("deployment_id")]
    deployments = ",".join(value for value in named if value)
    if not deployments:
        return {}
    page = f"{ui_url}/v2/runs?deployments={deployments}"
    return {"flow runs": page, "flow runs without work": f"{page}&state={','.join(IdleEnd)}"}


def link_run(
    settings: Settings, handles: Mapping[str, Any], metrics: Mapping[str, Any]
) -> dict[str, str]:
    """Return the addresses of a run's pages in MLflow and Evidently, by title.

    ``handles`` are the instance's ids in other systems, by column name. ``metrics`` are those of
    the run; they hold the ids of its MLflow run and its Evidently report, if it has any.
    """
    experiment, run = handles.get("mlflow_experiment_id"), metrics.get(MLFLOW_RUN)
    project, report = handles.get("evidently_project_id"), metrics.get(EVIDENTLY_REPORT)
    found = {
        "MLflow run": mlflow_pages(settings).run(experiment, run) if experiment and run else "",
        "Evidently report": (
            evidently_pages(settings).report(project, report) if project and report else ""
        ),
    }
    return {title: address for title, address in found.items() if address}
