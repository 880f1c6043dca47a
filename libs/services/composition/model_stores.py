"""The stores of models and their reports: embedded in the home, or on servers."""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.adapters.evidently import Monitoring
from prefect_instances.libs.adapters.mlflow import Tracking
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.db.models import ModelInstance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import Settings


def tracking(services: Services) -> Tracking:
    """Open MLflow with the settings of the services."""
    return open_tracking(services.settings)


def monitoring(services: Services) -> Monitoring:
    """Open Evidently with the settings of the services."""
    return open_monitoring(services.settings)


def open_tracking(settings: Settings) -> Tracking:
    """Open MLflow with these settings."""
    return Tracking(settings.home / "mlflow", settings.mlflow_tracking_uri)


def open_monitoring(settings: Settings) -> Monitoring:
    """Open Evidently with these settings."""
    secret = settings.evidently_secret.get_secret_value()
    return Monitoring(settings.home / "evidently", settings.evidently_url, secret)


def build_experiment_name(project: str, name: str, instance_id: UUID) -> str:
    """Build the name of an experiment; with the id, because MLflow never frees a name."""
    return f"{project}/{name} {instance_id}"


def build_model_name(project: str, name: str, instance_id: UUID) -> str:
    """Build the name of a registered model."""
    return f"{project}.{name}.{instance_id}"


def read_model_row(services: Services, instance_id: UUID) -> ModelInstance:
    """Read the extension row of a model; raise NotFound if it is gone."""
    with services.database.read() as session:
        row = session.get(ModelInstance, instance_id)
        if row is None:
            raise NotFound("instance", str(instance_id))
        session.expunge(row)
        return row


def parse_version_number(location: str) -> int:
    """Read the version number from ``models:/<name>/<n>``."""
    return int(location.rpartition("/")[2])
