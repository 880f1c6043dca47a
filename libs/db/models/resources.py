"""Resources: everything that has a name, and the immutable versions of what it says."""

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

    ``scope`` is what the name is unique in: the parent's id, or the type for what has no parent.
    ``name_key`` is the name in lower case. ``condition`` says which step of provisioning failed.
    ``status`` is None for what has no flows. ``live_seq`` numbers the messages to subscribers: the
    last one's.
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
    """What a resource said at one point: a definition version, or an instance's configuration."""

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
