"""The composition root: it builds the services from the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from prefect_instances.libs.adapters.prefect import PrefectGateway, read_configured_api_url
from prefect_instances.libs.core.commands import RetryPolicy
from prefect_instances.libs.core.errors import NotFound, NothingHere, PermanentError
from prefect_instances.libs.db import Database
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from prefect_instances.libs.settings import Settings, load_settings

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

    from prefect_instances.libs.adapters.centrifugo.publisher import Publisher


@contextmanager
def connect(settings: Settings | None = None) -> Iterator[Services]:
    """Open the services with the configured database and Prefect server; close them at the end.

    A server in Prefect's own settings takes precedence over the one saved in the home.
    """
    settings = settings or load_settings()
    address = read_configured_api_url() or settings.prefect_api_url or None
    with PrefectGateway.connect(address) as prefect, _serve(settings, prefect) as services:
        yield services


@contextmanager
def connect_to_read(settings: Settings | None = None) -> Iterator[Services]:
    """Open the services for reading: they work without a Prefect server until a call needs it.

    Raises NothingHere if the home has no database.
    """
    settings = settings or load_settings()
    require_database(settings)
    with (
        PrefectGateway.connect_later(settings.prefect_api_url) as prefect,
        _serve(settings, prefect) as services,
    ):
        # The next read of this process then compiles no statement again.
        services.database.share_engine()
        yield services


def require_database(settings: Settings) -> None:
    """Raise NothingHere if there is no database, so that a read does not create an empty file."""
    own = f"sqlite:///{settings.home / 'instances.db'}"
    if settings.database_url == own and not (settings.home / "instances.db").exists():
        raise NothingHere(settings.home)


@contextmanager
def _serve(settings: Settings, prefect: PrefectGateway) -> Iterator[Services]:
    """Build the services on an open gateway; close the rest at the end."""
    database = open_database(settings, prefect)
    try:
        ledger = _ledger(settings, database)
        live = SubscriberRelay(database, ledger.clock, lambda: open_broker(settings, prefect))
        try:
            yield Services(
                settings=settings,
                database=database,
                prefect=prefect,
                registry=load_installed(),
                ledger=ledger,
                live=live,
            )
        finally:
            live.close()
    finally:
        database.close()


def warm_up() -> None:
    """Do the initial work of every run once, for the runs that are forked from this process."""
    # Runs that publish import the one, and the pages of runs the other.
    import prefect_instances.libs.adapters.centrifugo.publisher
    import prefect_instances.libs.services.rendering.tear_sheets  # noqa: F401
    from prefect_instances.libs.services.runs.procedures import PROCEDURES, load_procedure
    from prefect_instances.libs.services.runs.statement_cache import warm

    for kind in PROCEDURES:
        load_procedure(kind)

    with connect() as services:
        warm(services)


def open_broker(settings: Settings, prefect: PrefectGateway) -> Publisher | None:
    """Return a publisher for the Centrifugo block that the settings name; None if there is none."""
    from prefect_instances.libs.adapters.centrifugo.publisher import Publisher
    from prefect_instances.libs.services.views.subscribing import connection

    found = connection(settings, prefect)
    return None if found is None else Publisher(found)


def open_database(settings: Settings, prefect: PrefectGateway) -> Database:
    """Open the database of the settings, by URL or by the Prefect block with its address."""
    if settings.database_url:
        return Database(settings.database_url)
    url = _url_of(settings.database_block, prefect)
    if url is None:
        raise PermanentError(
            f"block {settings.database_block!r} contains no database credentials; choose a "
            "block of type sqlalchemy-connector or database-credentials"
        )
    return Database(url)


def _url_of(block: str, prefect: PrefectGateway) -> URL | str | None:
    """Return the address in the block ``type-slug/name``, None if it has none.

    A connector is read as a plain document: an object of it would report its use to Prefect in a
    thread, and a process with a second thread cannot be forked from.
    """
    slug, _, name = block.partition("/")
    document = prefect.read_secrets(slug, name)
    if document is None:
        raise NotFound("block document", block)
    info = document.get("connection_info")
    if isinstance(info, Mapping):
        from prefect_sqlalchemy import ConnectionComponents

        created: URL = ConnectionComponents.model_validate(info).create_url()
        return created
    found: str | None = info or getattr(prefect.load_block(block), "rendered_url", None)
    return found


def _ledger(settings: Settings, database: Database) -> Ledger:
    return Ledger(
        database,
        lease=timedelta(seconds=settings.lease_seconds),
        retry=RetryPolicy(
            crashed=settings.crash_retries,
            crashed_delay=timedelta(seconds=settings.crash_backoff_seconds),
        ),
    )
