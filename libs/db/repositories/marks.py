"""Statements on the row that describes the database itself."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID, uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.db.models import DatabaseMark

_ONLY = 1


def ensure_identity(session: Session) -> UUID:
    """Read the id of the database; create a random one at the first call."""
    return _mark(session).identity


def read_identity(session: Session) -> UUID | None:
    """Read the id of the database; None if it has none yet."""
    mark = session.get(DatabaseMark, _ONLY)
    return None if mark is None else mark.identity


def read_swept(session: Session) -> datetime | None:
    """Read when a sweep last reached this database (aware UTC); None before the first."""
    mark = session.get(DatabaseMark, _ONLY)
    return None if mark is None else mark.swept_at


def record_swept(session: Session, now: datetime) -> None:
    """Record that a sweep has reached this database."""
    _mark(session).swept_at = now


def _mark(session: Session) -> DatabaseMark:
    mark = session.get(DatabaseMark, _ONLY)
    if mark is None:
        mark = DatabaseMark(id=_ONLY, identity=uuid4(), swept_at=None)
        session.add(mark)
        session.flush()
    return mark
