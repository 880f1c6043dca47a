"""Extension tables of experiments, models, optimizers and backtests."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json


class InstanceColumns:
    """Columns that all of these instances have."""

    resource_id: Mapped[UUID] = mapped_column(
        ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True
    )
    config_json: Mapped[dict[str, Any]] = mapped_column(Json)
    schedule_json: Mapped[dict[str, Any]] = mapped_column(Json)
    upstream_refs: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    block_document_id: Mapped[UUID | None]


class DefinedColumns(InstanceColumns):
    """Columns of instances with a definition, and the version of it that was resolved.

    Both are None only for an experiment on a bare expression.
    """

    definition_resource_id: Mapped[UUID | None] = mapped_column(ForeignKey("resources.id"))
    definition_version_id: Mapped[UUID | None] = mapped_column(ForeignKey("resource_versions.id"))


class ExperimentInstance(DefinedColumns, Base):
    """An expression under test."""

    __tablename__ = "experiment_instances"

    executor_instance_id: Mapped[UUID] = mapped_column(ForeignKey("executor_instances.resource_id"))

    prefect_deployment_id: Mapped[UUID | None]


class ModelInstance(DefinedColumns, Base):
    """A model that is trained, predicts and is monitored.

    ``mlflow_registered_model_name`` is None until a model version is promoted.
    """

    __tablename__ = "model_instances"

    prefect_training_deployment_id: Mapped[UUID | None]
    prefect_inference_deployment_id: Mapped[UUID | None]
    prefect_monitoring_deployment_id: Mapped[UUID | None]
    mlflow_experiment_id: Mapped[str | None] = mapped_column(String(80))
    mlflow_registered_model_name: Mapped[str | None] = mapped_column(String(200))
    evidently_project_id: Mapped[str | None] = mapped_column(String(80))


class PortfolioOptimizerInstance(DefinedColumns, Base):
    """An optimizer that turns signals and a covariance into weights."""

    __tablename__ = "portfolio_optimizer_instances"

    prefect_deployment_id: Mapped[UUID | None]


class BacktestInstance(InstanceColumns, Base):
    """A backtest; its procedure is fixed, so it has no definition."""

    __tablename__ = "backtest_instances"

    assets_json: Mapped[dict[str, Any]] = mapped_column(Json)
    signals_json: Mapped[dict[str, Any]] = mapped_column(Json)
    date_range_json: Mapped[dict[str, Any]] = mapped_column(Json)
    prefect_deployment_id: Mapped[UUID | None]
