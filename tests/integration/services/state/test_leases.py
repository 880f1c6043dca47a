"""The lease of a run whose process had to wait for the database."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeVar
from uuid import uuid4

from sqlalchemy.orm import Session

from prefect_instances.libs.core.commands import Started
from prefect_instances.libs.core.records import RunParameters
from prefect_instances.libs.core.status import Cause
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import RunRecord
from prefect_instances.libs.services.state.ledger import Ledger, RunWish
from tests.property.backend import EPOCH
from tests.property.graphs import flow_id, of_pairs
from tests.property.sql_backend import insert_graph

Answer = TypeVar("Answer")
LEASE = timedelta(seconds=30)


class Busy(Database):
    """A database in which somebody else writes for a while before it is our turn."""

    now, others_take = EPOCH, timedelta()

    def transact(self, work: Callable[[Session], Answer]) -> Answer:
        self.now += self.others_take
        return super().transact(work)


def test_a_lease_counts_from_the_moment_at_which_it_could_be_written(database: Database) -> None:
    busy = Busy(database.url)
    busy.transact(lambda session: insert_graph(session, of_pairs("A>B")))
    ledger = Ledger(busy, lambda: busy.now, lease=LEASE)
    started = ledger.start(flow_id("A"), uuid4(), ask=RunWish(Cause.MANUAL, RunParameters()))
    assert isinstance(started, Started)
    busy.others_take = 2 * LEASE

    assert ledger.extend_lease(started.run.id)

    with busy.read() as session:
        assert session.get_one(RunRecord, started.run.id).lease_until == busy.now + LEASE
    busy.close()
