"""The subscriber relay: one row that says which process publishes and since when it fails."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import Text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import UtcDateTime


class LiveRelay(Base):
    """The state of the relay to subscribers; see ``libs.core.subscriber_messages.RelayState``.

    The only row has the id 1.
    """

    __tablename__ = "live_relay"

    id: Mapped[int] = mapped_column(primary_key=True)
    configured: Mapped[bool]
    holder: Mapped[UUID | None]
    lease_until: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failures: Mapped[int]
    retry_at: Mapped[datetime | None] = mapped_column(UtcDateTime)
    failing_since: Mapped[datetime | None] = mapped_column(UtcDateTime)
    reason: Mapped[str] = mapped_column(Text)
