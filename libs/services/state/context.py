"""Adapters, database and settings that every service receives."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.core.errors import WrongDatabase
from prefect_instances.libs.core.ids import DATABASE_TAG, database_tag
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.repositories.marks import ensure_identity, read_identity
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.services.state.subscriber_relay import SubscriberRelay
from prefect_instances.libs.settings import Settings


@dataclass(frozen=True)
class Services:
    """Adapters, database and settings of one process.

    ``live`` publishes messages to subscribers.
    """

    settings: Settings
    database: Database
    prefect: PrefectGateway
    registry: Registry
    ledger: Ledger
    live: SubscriberRelay

    def now(self) -> datetime:
        """Return the current instant, aware UTC."""
        return self.ledger.clock()

    def identity(self) -> UUID:
        """Return the id of this database; create it at the first call."""
        with self.database.read() as session:
            known = read_identity(session)
        return known or self.database.transact(ensure_identity)

    def refuse_foreign(self, tags: Iterable[str]) -> None:
        """Raise WrongDatabase if the tags of a run name another database."""
        found = database_tag(self.identity())
        for tag in tags:
            if tag.startswith(f"{DATABASE_TAG}:") and tag != found:
                raise WrongDatabase(tag.partition(":")[2], found.partition(":")[2])
