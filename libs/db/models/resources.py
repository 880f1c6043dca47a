"""Resources: everything that has a name, and the immutable versions of its specification."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, Index, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.core.status import FlowStatus, Lifecycle
from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime, enum_column


class Resource(Base):
    """A project, definition, component instance or instance.

    The name is unique within ``scope``: the parent's id, or the type of a resource without a
    parent. ``name_key`` is the name in lower case. ``condition`` holds the lock of the flow run
    that changes the resource, and the step that failed. ``status`` is None for a resource without
    flows. ``live_seq`` is the number of the last message to subscribers.
    """

    __tablename__ = "resources"
    __table_args__ = (
        UniqueConstraint("scope", "name_key", name="uq_resources_name_in_parent"),
        Index("ix_resources_type", "type"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    type: Mapped[str] = mapped_column(String(40))
    parent_id: Mapped[UUID | None] = mapped_column(ForeignKey("resources.id"), index=True)
    scope: Mapped[str] = mapped_column(String(40))
    name: Mapped[str] = mapped_column(String(200))
    name_key: Mapped[str] = mapped_column(String(200))
    lifecycle: Mapped[Lifecycle] = mapped_column(enum_column(Lifecycle))
    status: Mapped[FlowStatus | None] = mapped_column(enum_column(FlowStatus))
    contract: Mapped[dict[str, Any] | None] = mapped_column(Json)
    condition: Mapped[dict[str, Any] | None] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
    updated_at: Mapped[datetime] = mapped_column(UtcDateTime)
    live_seq: Mapped[int] = mapped_column(default=0, server_default="0")


class ResourceVersion(Base):
    """One version of a resource: of a definition, or of an instance's configuration."""

    __tablename__ = "resource_versions"
    __table_args__ = (
        UniqueConstraint("resource_id", "number", name="uq_resource_versions_number"),
        UniqueConstraint("resource_id", "label", name="uq_resource_versions_label"),
    )

    id: Mapped[UUID] = mapped_column(primary_key=True)
    resource_id: Mapped[UUID] = mapped_column(ForeignKey("resources.id", ondelete="CASCADE"))
    number: Mapped[int]
    label: Mapped[str] = mapped_column(String(80))
    content_hash: Mapped[str] = mapped_column(String(64))
    spec_json: Mapped[dict[str, Any]] = mapped_column(Json)
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
