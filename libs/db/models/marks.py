"""Facts about the database itself: its identity and its last sweep."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import UtcDateTime


class DatabaseMark(Base):
    """The identity of the database and the time of its last sweep.

    The only row has the id 1. ``swept_at`` is None until the first sweep.
    """

    __tablename__ = "database_marks"

    id: Mapped[int] = mapped_column(primary_key=True)
    identity: Mapped[UUID]
    swept_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
