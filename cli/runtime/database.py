"""The database of a home: its address is checked and saved as a block, its schema is migrated."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from sqlalchemy import text
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.db import Database, back_up, migrate
from prefect_instances.libs.services.composition.catalog import register_all
from prefect_instances.libs.services.state.context import Services

BLOCK_NAME = "instances"
BLOCK = f"sqlalchemy-connector/{BLOCK_NAME}"
DRIVERS = {
    "sqlite": "sqlite",
    "sqlite+pysqlite": "sqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}
"""Maps each accepted URL scheme to the one that is used."""


class UnusableDatabase(PermanentError):
    """The address does not name a usable database: correct ``--database``.

    ``detail`` never holds the address itself, which may hold a password.
    """

    def __init__(self, detail: str) -> None:
        self.detail = detail
        super().__init__(f"--database: {detail}")


def read_url(address: str) -> URL:
    """Parse the address as SQLAlchemy does; a SQLite file gets its absolute path.

    Raises UnusableDatabase.
    """
    try:
        url = make_url(address)
    except (ArgumentError, ValueError):
        # Not chained: the vendor's message repeats the address with its password.
        raise UnusableDatabase("write sqlite:///FILE or postgresql+psycopg://…") from None
    if url.drivername not in DRIVERS:
        known = "sqlite and postgresql+psycopg"
        raise UnusableDatabase(f"{url.drivername!r} is not supported; {known} are")
    if "password" in url.query:
        raise UnusableDatabase("write the password as user:password@host, not as ?password=")
    url = url.set(drivername=DRIVERS[url.drivername])
    return _with_file(url) if url.drivername == "sqlite" else url


def check(url: URL) -> None:
    """Check that the database answers.

    Raises Unavailable if it does not; the text never contains the password.
    """
    database = Database(url)
    try:
        with database.read() as session:
            session.execute(text("SELECT 1"))
    finally:
        database.close()


def bring_up_to_date(database: Database, say: Callable[[str], None]) -> None:
    """Migrate to the schema of this version; back a SQLite file up first and say where.

    Raises UnknownRevision if another version of the code made the database, and NotBackedUp if it
    cannot be copied; nothing is changed then.
    """
    copy = back_up(database)
    if copy is not None:
        say(f"the database is backed up to {copy} before it is migrated")
    migrate(database)


def register_definitions(services: Services, say: Callable[[str], None]) -> None:
    """Register every installed definition in the database.

    ``say`` gets one line for each definition that is refused, because its code has changed but its
    version has not.
    """
    registry, now = services.registry, services.now()
    _, refused = services.database.transact(lambda s: register_all(s, registry, now))
    for error in refused:
        say(str(error))


def save_block(gateway: PrefectGateway, url: URL) -> None:
    """Save the address on the server, its password encrypted, as the block ``BLOCK``."""
    from prefect_sqlalchemy import ConnectionComponents, SqlAlchemyConnector
    from pydantic import SecretStr

    components = ConnectionComponents(
        driver=url.drivername,
        database=url.database,
        username=url.username,
        password=SecretStr(str(url.password)) if url.password else None,
        host=url.host,
        port=url.port,
        query={name: str(value) for name, value in url.query.items()} or None,
    )
    gateway.save_block(SqlAlchemyConnector(connection_info=components), BLOCK_NAME)


def _with_file(url: URL) -> URL:
    """Make the path of a SQLite file absolute, as a relative one differs between processes."""
    if not url.database or url.database == ":memory:":
        raise UnusableDatabase("a SQLite database needs a file: sqlite:///FILE")
    return url.set(database=str(Path(url.database).expanduser().absolute()))
