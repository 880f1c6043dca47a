"""Where models and their reports are kept: the embedded stores of the home, or servers."""

from __future__ import annotations

from uuid import UUID

from libs.adapters.evidently import Monitoring
from libs.adapters.mlflow import Tracking
from libs.core.errors import NotFound
from libs.db.models import ModelInstance
from libs.services.context import Services


def tracking(services: Services) -> Tracking:
    """MLflow as the settings name it."""
    return Tracking(services.settings.home / "mlflow", services.settings.mlflow_tracking_uri)


def monitoring(services: Services) -> Monitoring:
    """Evidently as the settings name it."""
    return Monitoring(services.settings.home / "evidently", services.settings.evidently_url)


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
