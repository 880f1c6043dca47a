"""What every service works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.db import Database
from prefect_instances.libs.definitions.registry import Registry
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.services.state.subscriber_relay import Live
from prefect_instances.libs.settings import Settings


@dataclass(frozen=True)
class Services:
    """The adapters, the database and the settings of one process; ``live`` tells subscribers."""

    settings: Settings
    database: Database
    prefect: PrefectGateway
    registry: Registry
    ledger: Ledger
    live: Live

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return self.ledger.clock()
