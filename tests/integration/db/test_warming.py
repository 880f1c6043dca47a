"""What a process does for the runs that are forked from it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest
from sqlalchemy import event, func, select

from prefect_instances.libs.db import Database
from prefect_instances.libs.db.models import Base
from prefect_instances.libs.definitions.installed import load_installed
from prefect_instances.libs.services.runs.statement_cache import warm
from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.settings import load_settings
from tests.databases import on_both_databases

pytestmark = [on_both_databases, pytest.mark.usefixtures("compiled_anew")]


@pytest.fixture
def services(database: Database) -> Services:
    """All that ``warm`` uses: neither Prefect nor subscribers hear of it."""
    nobody = cast("Any", None)
    return Services(load_settings(), database, nobody, load_installed(), Ledger(database), nobody)


def test_nobody_sees_what_was_lived_through(services: Services) -> None:
    warm(services)
    with services.database.read() as session:
        rows = {
            table.name: session.scalar(select(func.count()).select_from(table))
            for table in Base.metadata.sorted_tables
        }
    assert len(rows) > 20
    assert set(rows.values()) == {0}, rows


def test_whoever_opens_the_database_next_compiles_nothing(services: Services) -> None:
    warm(services)
    services.database.close()
    later, executed, compiled = Database(services.database.url), [], []

    @event.listens_for(later.engine, "after_cursor_execute")
    def note(
        _connection: Any, _cursor: Any, text: str, _values: Any, context: Any, _many: Any
    ) -> None:
        executed.append(text)
        if context.compiled is not None and context.cache_hit.name == "CACHE_MISS":
            compiled.append(text)

    warm(replace(services, database=later, ledger=Ledger(later)))
    later.close()
    assert len(executed) > 50
    assert compiled == []
