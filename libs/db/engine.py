"""The database connection: serial writes, bounded retries, SQLite and PostgreSQL.

State-changing transactions are serial, so that two upstreams that commit at the same time cannot
each miss the other. SQLite uses ``BEGIN IMMEDIATE``, PostgreSQL one transaction-scoped advisory
lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import DBAPIError, OperationalError
from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.db.types import json_text

Result = TypeVar("Result")

LINEAGE_LOCK = 0x1257A9CE5
"""Key of PostgreSQL's advisory lock for the lineage graph."""

ATTEMPTS = 5
"""How often a transaction is tried that meets a lock or a lost connection."""


def sqlite_url(path: Path) -> str:
    """Return the URL of a SQLite database file."""
    return f"sqlite:///{path}"


class Database:
    """Reads and serial writes through one SQLAlchemy engine."""

    def __init__(self, url: str | URL) -> None:
        self.url = make_url(url)
        self.engine = _SHARED.get(self.url) or _engine(self.url)
        self.is_sqlite = self.engine.dialect.name == "sqlite"

    def share_engine(self) -> None:
        """Share the engine and its compiled statements with later databases of the same URL.

        This holds in this process and in its forks.
        """
        _SHARED[self.url] = self.engine

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a read-only session that sees one consistent state.

        Objects that it loaded remain usable after it.
        """
        # SQLite reads one snapshot by itself; PostgreSQL sees what commits between two queries.
        one_state = {} if self.is_sqlite else {"isolation_level": "REPEATABLE READ"}
        engine = self.engine.execution_options(**one_state)
        with _translate_errors(self.url), Session(engine) as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open one serial transaction: commit at the end, roll back on any error."""
        connectable = self.engine.execution_options(instances_write=True)
        with Session(connectable, expire_on_commit=False) as session, session.begin():
            self._wait_for_turn(session)
            yield session

    @contextmanager
    def simulate(self) -> Iterator[Database]:
        """Open one serial transaction as a database whose writes are all rolled back at the end."""
        writer = self.engine.execution_options(instances_write=True)
        with writer.connect() as connection, connection.begin() as transaction:
            self._wait_for_turn(connection)
            yield _Simulation(self, connection)
            transaction.rollback()

    @contextmanager
    def alter(self) -> Iterator[Connection]:
        """Open one serial transaction that changes the schema.

        SQLite changes many tables by copying and dropping them, and dropping a table deletes the
        rows that reference it. So its foreign keys are off during the transaction and are checked
        before the commit. Raises BrokenReferences, and rolls back, if a row references a missing
        one.
        """
        writer = self.engine.execution_options(instances_write=True)
        with (
            writer.connect() as connection,
            _without_foreign_keys(connection),
            connection.begin(),
        ):
            self._wait_for_turn(connection)
            yield connection
            _check_foreign_keys(connection)

    def _wait_for_turn(self, session: Session | Connection) -> None:
        """Wait until no other transaction writes."""
        if not self.is_sqlite:
            session.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": LINEAGE_LOCK})
        elif isinstance(session, Session):
            session.connection()  # Begins, and so waits, here and not at the first statement.

    def transact(self, work: Callable[[Session], Result]) -> Result:
        """Run ``work`` in one serial transaction; repeat it after a lock or a lost connection.

        ``work`` must change nothing but the session. Raises Unavailable if the database does not
        answer or ``ATTEMPTS`` are used up.
        """
        with _translate_errors(self.url):
            for attempt in range(1, ATTEMPTS + 1):
                try:
                    with self.write() as session:
                        return work(session)
                except DBAPIError as error:
                    if attempt == ATTEMPTS or not _is_transient(error):
                        raise
                    time.sleep(0.05 * 2**attempt)
        raise AssertionError("unreachable: the last attempt returns or raises")


class _Simulation(Database):
    """A database within one open transaction; its sessions commit to savepoints only."""

    def __init__(self, database: Database, connection: Connection) -> None:
        self.url, self.engine, self.is_sqlite = database.url, database.engine, database.is_sqlite
        self._connection = connection

    @contextmanager
    def read(self) -> Iterator[Session]:
        """Open a session within the transaction."""
        with Session(self._connection, join_transaction_mode="create_savepoint") as session:
            yield session

    @contextmanager
    def write(self) -> Iterator[Session]:
        """Open a session within the transaction and commit it to a savepoint."""
        with self.read() as session, session.begin():
            session.expire_on_commit = False
            yield session


class BrokenReferences(PermanentError):
    """A migration leaves rows that reference missing ones: report it; nothing has changed.

    ``tables`` are the tables that hold such rows.
    """

    def __init__(self, tables: Iterable[str]) -> None:
        self.tables = tuple(sorted(set(tables)))
        names = ", ".join(self.tables)
        super().__init__(f"the migration breaks references in {names}; nothing was changed")


@contextmanager
def _without_foreign_keys(connection: Connection) -> Iterator[None]:
    """Switch off SQLite's foreign keys during the block."""
    if connection.dialect.name != "sqlite":
        yield
        return
    # Use the driver's connection: SQLite ignores the pragma inside a SQLAlchemy transaction.
    raw: Any = connection.connection.driver_connection
    raw.execute("PRAGMA foreign_keys=OFF")
    try:
        yield
    finally:
        raw.execute("PRAGMA foreign_keys=ON")


def _check_foreign_keys(connection: Connection) -> None:
    """Raise BrokenReferences if a row of a SQLite database references a missing one."""
    if connection.dialect.name == "sqlite":
        broken = connection.exec_driver_sql("PRAGMA foreign_key_check").all()
        if broken:
            raise BrokenReferences(row[0] for row in broken)


_SHARED: dict[URL, Engine] = {}
"""Engines that later databases of the same URL reuse, with their compiled statements."""


@contextmanager
def _translate_errors(url: URL) -> Iterator[None]:
    """Raise Unavailable, in one line without the password, if the database does not answer.

    A signal that the driver replaced by an error is raised again.
    """
    try:
        yield
    except OperationalError as error:
        where = url.render_as_string(hide_password=True)
        reason = str(error.orig).strip().splitlines()[0] if error.orig else "no answer"
        raise Unavailable(f"database {where}", reason) from error
    except DBAPIError as error:
        if interruption := _find_interruption(error):
            raise interruption from None
        raise


def _find_interruption(error: BaseException) -> BaseException | None:
    """Return the signal, such as Ctrl-C, that an error followed; None if it has another cause.

    A signal that arrives within a statement leaves the connection busy, and the driver then raises
    an error of its own in place of it.
    """
    found: BaseException | None = error
    while isinstance(found, Exception):
        found = found.__context__
    return None if isinstance(found, GeneratorExit) else found


@contextmanager
def translate_driver_errors(connection: Connection, statement: str) -> Iterator[None]:
    """Raise errors of the database driver as the SQLAlchemy errors that other statements raise."""
    driver, raw = connection.dialect.loaded_dbapi, connection.connection.dbapi_connection
    try:
        yield
    except driver.Error as error:
        lost = connection.dialect.is_disconnect(error, raw, None)
        if lost:
            connection.invalidate(error)
        raise DBAPIError.instance(
            statement, None, error, driver.Error, connection_invalidated=lost,
            dialect=connection.dialect,
        ) from error  # fmt: skip


def _is_transient(error: DBAPIError) -> bool:
    """Return True for transient errors: locks, serialisation failures, lost connections."""
    if error.connection_invalidated:
        return True
    state = getattr(error.orig, "sqlstate", None)
    if state is not None:
        return state in {"40001", "40P01", "55P03", "57P01", "57P02", "57P03"}
    return isinstance(error, OperationalError) and (
        "locked" in str(error.orig) or "busy" in str(error.orig) or "connection" in str(error.orig)
    )


_POSTGRES = (
    "lock_timeout=20000",
    "timezone=UTC",
    # The planner overestimates the rows of a walk over the lineage, and would read all edges at
    # every commit. Frequent queries have an index; without one a table is scanned in any case.
    "enable_seqscan=off",
    "jit=off",
)


def _engine(url: URL) -> Engine:
    if url.get_backend_name() != "sqlite":
        options = {"options": " ".join(f"-c {setting}" for setting in _POSTGRES)}
        engine = create_engine(
            url, connect_args=options, json_serializer=json_text, pool_pre_ping=True, pool_size=2
        )
        # Many rows in one INSERT: psycopg's own way sends a statement for each.
        engine.dialect.use_insertmanyvalues_wo_returning = True
        return engine
    if url.database:
        Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    waiting = {"timeout": 30, "check_same_thread": False}
    engine = create_engine(url, connect_args=waiting, json_serializer=json_text)
    event.listen(engine, "connect", _prepare_sqlite)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:
    # Switch off the driver's own transactions: they would begin too late and not IMMEDIATE.
    connection.isolation_level = None
    cursor = connection.cursor()
    for pragma in (
        "journal_mode=WAL",
        "synchronous=NORMAL",
        "foreign_keys=ON",
        "busy_timeout=30000",
        # The planner overestimates the rows of a walk over the lineage, and would build an index
        # of all edges at every commit.
        "automatic_index=OFF",
    ):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Any) -> None:
    write = connection.get_execution_options().get("instances_write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
