"""Extension tables of datasets and signals, and the versions that their runs published."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime


class DatasetColumns:
    """Composition, configuration and external ids of datasets and signals.

    ``definition_resource_id`` and ``definition_version_id`` are those of the pipeline.
    """

    resource_id: Mapped[UUID] = mapped_column(
        ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True
    )
    pipeline_instance_id: Mapped[UUID] = mapped_column(ForeignKey("pipeline_instances.resource_id"))
    store_instance_id: Mapped[UUID] = mapped_column(ForeignKey("store_instances.resource_id"))
    accessor_instance_id: Mapped[UUID] = mapped_column(ForeignKey("accessor_instances.resource_id"))
    executor_instance_id: Mapped[UUID] = mapped_column(ForeignKey("executor_instances.resource_id"))
    definition_resource_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id"))
    definition_version_id: Mapped[UUID] = mapped_column(ForeignKey("resource_versions.id"))
    config_json: Mapped[dict[str, Any]] = mapped_column(Json)
    schedule_json: Mapped[dict[str, Any]] = mapped_column(Json)
    upstream_refs: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    prefect_deployment_id: Mapped[UUID | None]
    block_document_id: Mapped[UUID | None]


class DatasetInstance(DatasetColumns, Base):
    """A dataset: it has a pipeline, a store and an accessor."""

    __tablename__ = "dataset_instances"


class SignalInstance(DatasetColumns, Base):
    """A dataset that must satisfy a signal contract.

    ``promoted_from_id`` is the dataset or experiment that it was promoted from, which may be
    deleted since; None if it was created directly.
    """

    __tablename__ = "signal_instances"

    signal_json: Mapped[dict[str, Any]] = mapped_column(Json)
    promoted_from_id: Mapped[UUID | None]


class DatasetVersion(Base):
    """An immutable output that a run published; the row is written when it is published.

    ``changed_from`` is the first date that differs from the previous version; None if any date may
    differ.
    """

    __tablename__ = "dataset_versions"
    __table_args__ = (
        UniqueConstraint("flow_id", "generation", name="uq_dataset_versions_generation"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE")
    )
    generation: Mapped[int]
    location: Mapped[str] = mapped_column(String(400))
    rows: Mapped[int]
    min_date: Mapped[date | None]
    max_date: Mapped[date | None]
    columns: Mapped[list[str]] = mapped_column(Json)
    schema_hash: Mapped[str] = mapped_column(String(64))
    content_hash: Mapped[str] = mapped_column(String(64))
    produced_by_run: Mapped[UUID] = mapped_column(ForeignKey("runs.id"))
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    changed_from: Mapped[date | None]
