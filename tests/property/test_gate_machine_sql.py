"""The same random histories on the real ledger, over SQLite and PostgreSQL."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, settings
from hypothesis.stateful import run_state_machine_as_test
from sqlalchemy.exc import DBAPIError

from prefect_instances.libs.db import sqlite_url
from prefect_instances.libs.db.repositories import region
from prefect_instances.libs.services.state import ledger
from tests.databases import on_each_database
from tests.promised import PROMISED
from tests.property.machine import machine_over
from tests.property.sql_backend import SqlBackend
from tests.property.statistics import table

MUST_HAPPEN_SOON = ["published", "delivered", "started", "skipped", "asked"]
"""What even a handful of histories cannot do without."""


@pytest.fixture
def sql(database_url: str) -> Iterator[SqlBackend]:
    backend = SqlBackend(database_url)
    yield backend
    backend.dispose()


@pytest.mark.hypothesis
@on_each_database
def test_every_history_keeps_the_invariants_in_a_database(
    sql: SqlBackend, record_property: Callable[[str, object], None]
) -> None:
    counts: Counter[str] = Counter()
    few = settings(max_examples=max(5, PROMISED // 10), stateful_step_count=20)
    run_state_machine_as_test(machine_over(lambda: sql, counts), settings=few)
    dialect = sql.databases[0].url.get_backend_name()
    record_property("counts", table(f"random histories on {dialect}", counts))
    assert counts["histories"] >= few.max_examples
    assert min(counts[name] for name in MUST_HAPPEN_SOON) > 0


def _descends_never(patch: pytest.MonkeyPatch) -> None:
    original = region.load_region

    def load(*args: Any, descend: bool = False, **kwargs: Any) -> Any:
        return original(*args, descend=False, **kwargs)

    patch.setattr(ledger, "load_region", load)


def _knows_no_direct_downstreams(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(region, "_reached", lambda session, start: set(start))


def _forgets_requests(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(region, "_save_requests", lambda session, before, changes: None)


def _forgets_consumed(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(region, "_update_edges", lambda session, edges: None)


def _forgets_events(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ledger, "record_events", lambda session, events: None)


MUTANTS = [
    _descends_never,
    _knows_no_direct_downstreams,
    _forgets_requests,
    _forgets_consumed,
    _forgets_events,
]


@pytest.mark.thorough
@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.__name__.strip("_"))
def test_the_state_machine_fails_for_a_ledger_that(
    mutant: Callable[[pytest.MonkeyPatch], None],
    migrated_sqlite: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shutil.copy(migrated_sqlite, tmp_path / "mutant.db")
    backend = SqlBackend(sqlite_url(tmp_path / "mutant.db"))
    few = settings(
        max_examples=60,
        stateful_step_count=20,
        phases=(Phase.generate,),
        database=None,
        derandomize=True,
    )
    mutant(monkeypatch)
    with pytest.raises((AssertionError, LookupError, DBAPIError)):
        run_state_machine_as_test(machine_over(lambda: backend, Counter()), settings=few)
    backend.dispose()
