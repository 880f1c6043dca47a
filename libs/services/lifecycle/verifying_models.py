"""Look at what MLflow and Evidently hold of every model, for verifying."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
    experiment_name,
    model_name,
    monitoring,
    tracking,
    version_number,
)
from prefect_instances.libs.services.lifecycle.observing import is_settled
from prefect_instances.libs.services.rendering.links import EVIDENTLY_REPORT, MLFLOW_RUN
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.failures import Failures


def find_model_faults(services: Services, failures: Failures) -> Iterator[Finding]:
    """Yield the findings of every settled model; a system that fails is told in ``failures``."""
    with services.database.read() as session:
        models = [
            (named, session.get_one(ModelInstance, named.id))
            for named in select_instances(session)
            if named.type == InstanceType.MODEL and is_settled(session.get_one(Resource, named.id))
        ]
        handles = [(n, row.mlflow_experiment_id, row.evidently_project_id) for n, row in models]
    for named, experiment, project in handles:
        # The other systems come first: a run that ends in between is then known by its end.
        found = _look(services, named, experiment, project, failures)
        with services.database.read() as session:
            records = _records(session, named)
        yield from audit_model(records, found)


def _look(
    services: Services,
    named: Named,
    experiment: str | None,
    project: str | None,
    failures: Failures,
) -> ModelTraces:
    logged: tuple[Trace, ...] | None = None
    registered: tuple[Trace, ...] = ()
    champion = reports = None
    store, made_as = tracking(services), experiment_name(named.project, named.name, named.id)
    model = model_name(named.project, named.name, named.id)
    with failures.step(f"MLflow of {named.label}"):
        # A missing experiment is a finding of its own.
        if experiment and store.has_experiment(experiment, made_as):
            logged = tuple(Trace(*pair) for pair in store.list_runs(experiment))
            registered = tuple(Trace(*pair) for pair in store.list_versions(model))
            number = store.version_of(model, CHAMPION)
            champion = None if number is None else str(number)
    with failures.step(f"Evidently of {named.label}"):
        reporting = monitoring(services)
        if project and reporting.has_project(project):
            reports = tuple(reporting.list_reports(project))
    return ModelTraces(logged, registered, champion, reports)


def _records(session: Session, named: Named) -> ModelRecords:
    output = select_current_output(session, named.id, FlowKind.TRAINING)
    trained = select_run_facts(session, named.id, FlowKind.TRAINING)
    monitored = select_run_facts(session, named.id, FlowKind.MONITORING)
    return ModelRecords(
        name=named.label,
        published=str(version_number(output.location)) if output else None,
        runs={str(id_): status for id_, status, _ in (*trained, *monitored)},
        logged=_named(trained, MLFLOW_RUN),
        reports=_named(monitored, EVIDENTLY_REPORT),
    )


def _named(runs: Sequence[Any], key: str) -> tuple[str, ...]:
    """Return what the successful runs recorded under a key, newest first."""
    ended = [metrics for _, status, metrics in runs if status is RunStatus.COMPLETED]
    return tuple(str(metrics[key]) for metrics in ended if key in metrics)
