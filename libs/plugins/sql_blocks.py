"""Database connections by the name of the Prefect block with the address and password.

Configurations name the block; the credentials stay in it and appear in no error.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import (
    ArgumentError,
    DBAPIError,
    InterfaceError,
    OperationalError,
    SQLAlchemyError,
)

from prefect_instances.libs.core.errors import DataRejected, NotFound, PermanentError, Unavailable

if TYPE_CHECKING:
    from sqlalchemy import Engine

SLUG = "sqlalchemy-connector"
"""The block type of a name without a type in front."""


def open_engine(block: str) -> Engine:
    """Return an engine for the database of ``sqlalchemy-connector/NAME`` (or just ``NAME``).

    Raises ``NotFound`` if there is no such block, ``PermanentError`` if it is of another type or
    its driver is not installed, ``Unavailable`` if Prefect does not answer.
    """
    from sqlalchemy.pool import NullPool

    connector = _loaded(block)
    try:
        engine: Engine = connector.get_engine(poolclass=NullPool)
    except (ArgumentError, ImportError) as error:
        raise PermanentError(f"block {block!r} cannot be used: {_line(error)}") from error
    return engine


@contextmanager
def translate_sql_errors(database: str) -> Iterator[None]:
    """Translate errors of a database into this project's errors; ``database`` names it."""
    try:
        yield
    except DBAPIError as error:
        # The text of the driver alone: SQLAlchemy's own shows the statement with its values.
        detail = _line(error.orig or error)
        if isinstance(error, OperationalError | InterfaceError) and not _is_faulty(error.orig):
            raise Unavailable(database, detail) from error
        raise DataRejected(f"{database} refuses: {detail}") from error
    except SQLAlchemyError as error:
        raise DataRejected(f"{database} refuses: {_line(error)}") from error


def _is_faulty(error: object) -> bool:
    """Return True if SQLite rejects the statement, for which it has no error class of its own."""
    faults = (sqlite3.SQLITE_ERROR, sqlite3.SQLITE_READONLY)
    return getattr(error, "sqlite_errorcode", None) in faults


def _loaded(block: str) -> Any:
    from prefect.exceptions import PrefectException
    from prefect.settings import PREFECT_API_URL
    from prefect_sqlalchemy import SqlAlchemyConnector

    if not PREFECT_API_URL.value():  # Prefect would start a temporary server.
        raise Unavailable("Prefect API", "no server is configured in this process")
    slug, _, name = block.rpartition("/")
    if slug not in ("", SLUG):
        raise PermanentError(f"block {block!r} must be one of the type {SLUG}")
    try:
        return SqlAlchemyConnector.load(name, _sync=True)
    except ValueError as error:
        raise NotFound("block document", f"{SLUG}/{name}") from error
    except (PrefectException, OSError) as error:
        raise Unavailable("Prefect API", _line(error)) from error


def _line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
