"""What every service works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from libs.adapters.prefect import PrefectGateway
from libs.db import Database
from libs.definitions.registry import Registry
from libs.services.ledger import Ledger
from libs.services.live import Live
from libs.settings import Settings


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
