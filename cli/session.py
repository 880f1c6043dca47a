"""What a command works with: settings, database, and services on the right Prefect server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from prefect_instances.cli.runtime.stack import find_server, using
from prefect_instances.libs.core.errors import NothingHere as NothingHere
from prefect_instances.libs.db import Database
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.settings import load_settings
from prefect_instances.libs.wiring import connect, require_database


def utc_now() -> datetime:
    """Return the current time in UTC, for decisions and displays of this command."""
    return datetime.now(UTC)


@contextmanager
def open_services() -> Iterator[Services]:
    """Open everything that a command which starts flows needs.

    Raises Unavailable if no Prefect server is configured or started.
    """
    settings = load_settings()
    found = find_server(settings)
    with using(found):
        require_database(settings)
        pointed = settings.model_copy(update={"prefect_api_url": found.api_url})
        with connect(pointed) as services:
            yield services


@contextmanager
def open_database() -> Iterator[Database]:
    """Open the database alone, for commands that only read; they work while Prefect is down.

    If its address is in a Prefect block, Prefect is needed all the same.
    """
    settings = load_settings()
    if not settings.database_url:
        with open_services() as services:
            yield services.database
        return
    require_database(settings)
    database = Database(settings.database_url)
    try:
        yield database
    finally:
        database.close()
