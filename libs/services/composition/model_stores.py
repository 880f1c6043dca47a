"""Where models and their reports are kept: the embedded stores of the home, or servers."""

from __future__ import annotations

from uuid import UUID

from prefect_instances.libs.adapters.evidently import Monitoring
from prefect_instances.libs.adapters.mlflow import Tracking
from prefect_instances.libs.core.errors import NotFound
from prefect_instances.libs.db.models import ModelInstance
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import Settings


def tracking(services: Services) -> Tracking:
    """MLflow as the settings name it."""
    return open_tracking(services.settings)


def monitoring(services: Services) -> Monitoring:
    """Evidently as the settings name it."""
    return open_monitoring(services.settings)


def open_tracking(settings: Settings) -> Tracking:
    """As ``tracking``, where there are only settings."""
    return Tracking(settings.home / "mlflow", settings.mlflow_tracking_uri)


def open_monitoring(settings: Settings) -> Monitoring:
    """As ``monitoring``, where there are only settings."""
    secret = settings.evidently_secret.get_secret_value()
    return Monitoring(settings.home / "evidently", settings.evidently_url, secret)


def experiment_name(project: str, name: str, instance_id: UUID) -> str:
    """Holds the id: MLflow keeps the names of deleted experiments taken."""
    return f"{project}/{name} {instance_id}"


def model_name(project: str, name: str, instance_id: UUID) -> str:
    """Name of the registered model."""
    return f"{project}.{name}.{instance_id}"


def model_row(services: Services, instance_id: UUID) -> ModelInstance:
    """The extension row of a model; raises NotFound where it is gone."""
    with services.database.read() as session:
        row = session.get(ModelInstance, instance_id)
        if row is None:
            raise NotFound("instance", str(instance_id))
        session.expunge(row)
        return row


def version_number(location: str) -> int:
    """The version in ``models:/<name>/<n>``."""
    return int(location.rpartition("/")[2])
