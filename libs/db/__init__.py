"""The database: engine, models, migrations and repositories.

What belongs here: SQL. What must not: decisions (``libs.core``) or anything of Prefect.
"""

from prefect_instances.libs.db.engine import Database, sqlite_url
from prefect_instances.libs.db.migrate import current_revision, head_revision, migrate

__all__ = ["Database", "current_revision", "head_revision", "migrate", "sqlite_url"]
