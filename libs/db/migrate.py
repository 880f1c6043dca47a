"""Bringing a database to the schema of this version of the code."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from prefect_instances.libs.db.engine import Database

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).parent / "migrations"


# Alembic is imported where it is used: flow runs import this package and never migrate.


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade to a revision; safe to repeat, and safe while another process does the same."""
    from alembic import command

    config = _config()
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, revision)


def current_revision(database: Database) -> str | None:
    """The revision that the database has; None where it was never migrated."""
    from alembic.runtime.migration import MigrationContext

    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def head_revision() -> str | None:
    """The revision that this code needs."""
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config()).get_current_head()
