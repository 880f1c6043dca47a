"""MLflow: experiments, runs, registered models and their aliases.

What belongs here: all calls to MLflow, and the translation of its errors. What must not: which
models are trained or promoted (``libs.services.procedures.training``). Import it absolutely: the
vendor's package has the same last name.
"""

from prefect_instances.libs.adapters.mlflow.pages import MlflowPages
from prefect_instances.libs.adapters.mlflow.tracking import (
    BLOCKED,
    CHALLENGER,
    CHAMPION,
    LoadedModel,
    LoggedInput,
    Tracking,
    Training,
)

__all__ = [
    "BLOCKED",
    "CHALLENGER",
    "CHAMPION",
    "LoadedModel",
    "LoggedInput",
    "MlflowPages",
    "Tracking",
    "Training",
]
