"""Bringing a database to the schema of this version of the code."""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory

from libs.db.engine import Database

MIGRATIONS = Path(__file__).parent / "migrations"


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade to a revision; safe to repeat, and safe while another process does the same."""
    config = _config()
    with database.write() as session:
        config.attributes["connection"] = session.connection()
        command.upgrade(config, revision)


def current_revision(database: Database) -> str | None:
    """The revision that the database has; None where it was never migrated."""
    with database.read() as session:
        return MigrationContext.configure(session.connection()).get_current_revision()


def head_revision() -> str | None:
    """The revision that this code needs."""
    return ScriptDirectory.from_config(_config()).get_current_head()
