"""Jobs outside that runs have submitted and not yet used."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

from sqlalchemy import ForeignKey, String, Text
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import UtcDateTime


class ExternalJob(Base):
    """The job that a flow has handed over under a name; deleted when a run has published with it.

    ``fingerprint`` is a hash of all that the job's result depends on. ``job_id`` is empty until the
    system has answered; a submission after that repeats ``token``. ``run_id`` is the run that
    submitted it.
    """

    __tablename__ = "external_jobs"

    flow_id: Mapped[UUID] = mapped_column(
        ForeignKey("flow_execution_resources.id", ondelete="CASCADE"), primary_key=True
    )
    name: Mapped[str] = mapped_column(String(80), primary_key=True)
    fingerprint: Mapped[str] = mapped_column(String(64))
    token: Mapped[UUID]
    system: Mapped[str] = mapped_column(String(200))
    job_id: Mapped[str] = mapped_column(Text)
    run_id: Mapped[UUID]
    created_at: Mapped[datetime] = mapped_column(UtcDateTime)
