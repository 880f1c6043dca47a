"""What every service works with."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from libs.adapters.prefect import PrefectGateway
from libs.db import Database
from libs.definitions.registry import Registry
from libs.services.ledger import Ledger
from libs.settings import Settings


@dataclass(frozen=True)
class Services:
    """The adapters, the database and the settings of one process."""

    settings: Settings
    database: Database
    prefect: PrefectGateway
    registry: Registry
    ledger: Ledger

    def now(self) -> datetime:
        """The present instant, aware UTC."""
        return self.ledger.clock()
