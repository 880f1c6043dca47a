"""The outbox: events that are written with the state change and published after it."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import UUID

from sqlalchemy import BigInteger, Index, Integer, String, text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json, UtcDateTime


class OutboxEvent(Base):
    """One event; ``published_at`` is None until Prefect has accepted it.

    ``seq`` is the order of commits. ``live_seq`` numbers the messages to the subscribers of one
    instance; None if subscribers do not get the event. ``told_at`` is None until the broker has
    accepted the message.
    """

    __tablename__ = "outbox"
    __table_args__ = (
        Index(
            "ix_outbox_unpublished",
            "seq",
            sqlite_where=text("published_at IS NULL"),
            postgresql_where=text("published_at IS NULL"),
        ),
        Index(
            "ix_outbox_untold",
            "seq",
            sqlite_where=text("live_seq IS NOT NULL AND told_at IS NULL"),
            postgresql_where=text("live_seq IS NOT NULL AND told_at IS NULL"),
        ),
    )

    seq: Mapped[int] = mapped_column(
        BigInteger().with_variant(Integer, "sqlite"), primary_key=True, autoincrement=True
    )
    id: Mapped[UUID] = mapped_column(unique=True)
    name: Mapped[str] = mapped_column(String(80))
    occurred: Mapped[datetime] = mapped_column(UtcDateTime)
    resource: Mapped[dict[str, Any]] = mapped_column(Json)
    related: Mapped[list[dict[str, Any]]] = mapped_column(Json)
    payload: Mapped[dict[str, Any]] = mapped_column(Json)
    published_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    live_seq: Mapped[int | None]
    told_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
