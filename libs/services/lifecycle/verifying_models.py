"""Look at what MLflow and Evidently hold of every model, for verifying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.mlflow import CHAMPION
from prefect_instances.libs.core.audit import Finding
from prefect_instances.libs.core.audit_models import (
    ModelRecords,
    ModelTraces,
    Trace,
    audit_model,
)
from prefect_instances.libs.core.status import FlowKind, InstanceType, RunStatus
from prefect_instances.libs.db.models import ModelInstance, Resource
from prefect_instances.libs.db.repositories.audit import select_run_facts
from prefect_instances.libs.db.repositories.resources import Named, select_instances
from prefect_instances.libs.db.repositories.versions import select_current_output
from prefect_instances.libs.services.composition.model_stores import (
    build_experiment_name,
    build_model_name,
    monitoring,
    parse_version_number,
    tracking,
)
from prefect_instances.libs.services.lifecycle.observing import is_settled
from prefect_instances.libs.services.rendering.links import EVIDENTLY_REPORT, MLFLOW_RUN
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures


def find_model_faults(services: Services, failures: Failures) -> Iterator[Finding]:
    """Compare every model with MLflow and Evidently, and yield what is wrong.

    Models that are being provisioned or removed are left out. A system that does not answer is
    recorded in ``failures``.
    """
    for named, experiment, project in _models(services):
        traces = ModelTraces()
        # The other systems come first: a run that ends in between is then known by its end.
        with failures.step(f"MLflow of {named.label}"):
            traces = _look_at_tracking(services, named, experiment)
        with failures.step(f"Evidently of {named.label}"):
            traces = replace(traces, reports=_list_reports(services, project))
        with services.database.read() as session:
            records = _records(session, named)
        yield from audit_model(records, traces)


def _models(services: Services) -> list[tuple[Named, str | None, str | None]]:
    """Read the settled models with the ids of their experiment and of their project."""
    with services.database.read() as session:
        settled = [
            (named, session.get_one(ModelInstance, named.id))
            for named in select_instances(session)
            if named.type == InstanceType.MODEL and is_settled(session.get_one(Resource, named.id))
        ]
        return [(n, row.mlflow_experiment_id, row.evidently_project_id) for n, row in settled]


def _look_at_tracking(services: Services, named: Named, experiment: str | None) -> ModelTraces:
    store, made_as = tracking(services), build_experiment_name(named.project, named.name, named.id)
    if not experiment or not store.has_experiment(experiment, made_as):
        return ModelTraces()  # A missing experiment is a finding of its own.
    with services.database.read() as session:
        output = select_current_output(session, named.id, FlowKind.TRAINING)
        served = parse_version_number(output.location) if output else 0
    name = build_model_name(named.project, named.name, named.id)
    registered = tuple(Trace(*pair) for pair in store.list_versions(name))
    champion = store.find_version_by_alias(name, CHAMPION)
    return ModelTraces(
        logged=tuple(Trace(*pair) for pair in store.list_runs(experiment)),
        registered=registered,
        champion=None if champion is None else str(champion),
        served_files=str(served) not in {t.id for t in registered} or store.has_files(name, served),
    )


def _list_reports(services: Services, project: str | None) -> tuple[str, ...] | None:
    reporting = monitoring(services)
    if not project or not reporting.has_project(project):
        return None  # As above.
    return tuple(reporting.list_reports(project))


def _records(session: Session, named: Named) -> ModelRecords:
    output = select_current_output(session, named.id, FlowKind.TRAINING)
    trained = select_run_facts(session, named.id, FlowKind.TRAINING)
    monitored = select_run_facts(session, named.id, FlowKind.MONITORING)
    return ModelRecords(
        name=named.label,
        published=str(parse_version_number(output.location)) if output else None,
        runs={str(id_): status for id_, status, _ in (*trained, *monitored)},
        logged=_named(trained, MLFLOW_RUN),
        reports=_named(monitored, EVIDENTLY_REPORT),
    )


def _named(runs: Sequence[Any], key: str) -> tuple[str, ...]:
    """Return what the successful runs recorded under a key, newest first."""
    ended = [metrics for _, status, metrics in runs if status is RunStatus.COMPLETED]
    return tuple(str(metrics[key]) for metrics in ended if key in metrics)
