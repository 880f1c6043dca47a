"""Extension tables of component instances: configured pipelines, stores, accessors, executors."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json


class ComponentColumns:
    """A definition, the version that was resolved, and the configuration.

    ``owner_id`` is the instance whose spec defines the component inline; None for a shared one.
    """

    resource_id: Mapped[UUID] = mapped_column(
        ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True
    )
    definition_resource_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id"))
    definition_version_id: Mapped[UUID] = mapped_column(ForeignKey("resource_versions.id"))
    config_json: Mapped[dict[str, Any]] = mapped_column(Json)
    owner_id: Mapped[UUID | None] = mapped_column(ForeignKey("resources.id"))


class PipelineInstance(ComponentColumns, Base):
    """A configured pipeline."""

    __tablename__ = "pipeline_instances"


class StoreInstance(ComponentColumns, Base):
    """A configured store; each of its datasets has folders of its own."""

    __tablename__ = "store_instances"


class AccessorInstance(ComponentColumns, Base):
    """A configured accessor."""

    __tablename__ = "accessor_instances"


class ExecutorInstance(ComponentColumns, Base):
    """A configured executor."""

    __tablename__ = "executor_instances"
