"""Migrate a database to the schema of this version of the code."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.db.engine import Database

if TYPE_CHECKING:
    from alembic.config import Config
    from alembic.script import ScriptDirectory
    from sqlalchemy import Connection

MIGRATIONS = Path(__file__).parent / "migrations"

BACKUPS_KEPT = 2
"""How many backups of a SQLite file are kept; older ones are deleted."""


class UnknownRevision(PermanentError):
    """Another version of this package made the database: use that version, or a new database.

    ``revision`` is the revision of the database; this version of the code does not have it.
    ``finding`` and ``advice`` are the two halves of the message.
    """

    advice = (
        "use that version, or set INSTANCES_HOME to a new folder (or --database to an empty "
        "database), then run `instances up` and apply your manifests again"
    )

    def __init__(self, where: str, revision: str) -> None:
        self.where, self.revision = where, revision
        self.finding = f"another version made {where} (revision {revision})"
        super().__init__(f"{self.finding}: {self.advice}")


class NotBackedUp(PermanentError):
    """The database was not backed up, so it is not migrated: free space, or repair the folder."""

    def __init__(self, folder: Path, reason: str) -> None:
        self.folder, self.reason = folder, reason
        super().__init__(f"no backup in {folder}: {reason}; the database is not migrated")


# Alembic is imported where it is used: flow runs import this package and never migrate.


def _config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    return config


def _scripts() -> ScriptDirectory:
    from alembic.script import ScriptDirectory

    return ScriptDirectory.from_config(_config())


def migrate(database: Database, revision: str = "head") -> None:
    """Upgrade the database to a revision.

    It is safe to repeat it, also while another process does the same. Raises UnknownRevision if
    another version of the code made the database, and BrokenReferences if rows would reference
    missing ones; then nothing changes.
    """
    from alembic import command

    config = _config()
    with database.alter() as connection:
        require_known(database, _revision_of(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def require_known(database: Database, revision: str | None) -> None:
    """Raise UnknownRevision for a revision that this code does not have; None is accepted."""
    known = {script.revision for script in _scripts().walk_revisions()}
    if revision is not None and revision not in known:
        raise UnknownRevision(database.url.render_as_string(hide_password=True), revision)


def current_revision(database: Database) -> str | None:
    """Return the revision of the database; None if it was never migrated."""
    with database.read() as session:
        return _revision_of(session.connection())


def _revision_of(connection: Connection) -> str | None:
    from alembic.runtime.migration import MigrationContext

    return MigrationContext.configure(connection).get_current_revision()


def head_revision() -> str | None:
    """Return the revision that this code needs."""
    return _scripts().get_current_head()


def back_up(database: Database) -> Path | None:
    """Back up a SQLite file before a migration changes it; keep the last two backups.

    The backup is in the folder ``backups`` beside the file. Returns None if there is nothing to
    back up, because the database is new, up to date or not a SQLite file. Raises NotBackedUp, or
    UnknownRevision as ``migrate`` does.
    """
    if not database.is_sqlite or not database.url.database:
        return None
    current = current_revision(database)
    if current in (None, head_revision()):
        return None
    require_known(database, current)
    file = Path(database.url.database)
    folder = file.parent / "backups"
    try:
        return _add_backup(file, folder)
    except (OSError, sqlite3.Error) as error:
        raise NotBackedUp(folder, str(error)) from error


def _add_backup(file: Path, folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    copy = folder / f"{file.stem}-{datetime.now(UTC):%Y%m%dT%H%M%S%fZ}{file.suffix}"
    _copy_sqlite(file, copy)
    for old in sorted(folder.glob(f"{file.stem}-*Z{file.suffix}"))[:-BACKUPS_KEPT]:
        old.unlink()
    return copy


def _copy_sqlite(file: Path, copy: Path) -> None:
    """Copy a database that may be in use; a copy that fails leaves no complete file behind."""
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(copy)
