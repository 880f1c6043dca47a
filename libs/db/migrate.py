"""Bringing a database to the schema of this version of the code."""

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
"""How many backups of a SQLite file stay, the newest ones."""


class UnknownRevision(PermanentError):
    """Another version of this package made the database: use that one, or make a new database.

    ``revision`` is what the database is at; this version has no such revision. ``finding`` and
    ``advice`` are the two halves of the text.
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
    """The database could not be copied, so it is not migrated: make room, or mend the folder."""

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
    """Upgrade to a revision; safe to repeat, and safe while another process does the same.

    Raises UnknownRevision if another version of the code made the database, and BrokenReferences
    if rows would reference missing ones; nothing is changed then.
    """
    from alembic import command

    config = _config()
    with database.alter() as connection:
        require_known(database, _revision_of(connection))
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def require_known(database: Database, revision: str | None) -> None:
    """Raise UnknownRevision for a revision that this code does not have; None is known."""
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
    """Copy a SQLite file that a migration is about to change, and keep the last two copies.

    The copy is in the folder ``backups`` beside the file. None: there is nothing to keep, because
    the database is new or up to date, or is not a SQLite file.
    Raises NotBackedUp, or UnknownRevision as ``migrate`` does.
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
    """Copy a database that may be in use; a copy that fails half-way leaves no file."""
    part = copy.with_name(f"{copy.name}.part")
    part.unlink(missing_ok=True)
    with closing(sqlite3.connect(file)) as source, closing(sqlite3.connect(part)) as target:
        source.backup(target)
    part.replace(copy)
