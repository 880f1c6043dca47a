"""The database: engine, models, migrations and repositories.

What belongs here: SQL. What must not: decisions (``libs.core``) and anything that needs Prefect.
"""

from prefect_instances.libs.db.engine import Database, sqlite_url
from prefect_instances.libs.db.migrate import (
    NotBackedUp,
    UnknownRevision,
    back_up,
    current_revision,
    head_revision,
    migrate,
    require_known,
)

__all__ = [
    "Database",
    "NotBackedUp",
    "UnknownRevision",
    "back_up",
    "current_revision",
    "head_revision",
    "migrate",
    "require_known",
    "sqlite_url",
]
