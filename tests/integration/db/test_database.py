"""What a session of the database sees, on either dialect."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from sqlalchemy import func, insert, select, text
from sqlalchemy.orm import Session

from benchmarks.rows import NOW, fill, flow_id
from prefect_instances.libs.core.events import Event
from prefect_instances.libs.db import Database
from prefect_instances.libs.db.engine import LINEAGE_LOCK
from prefect_instances.libs.db.models import Resource
from prefect_instances.libs.db.repositories.flows import select_past_due
from prefect_instances.libs.db.repositories.outbox import record_events, select_unpublished
from tests.databases import on_each_database
from tests.property.sql_backend import _resource

pytestmark = on_each_database


def test_a_read_sees_one_state_whatever_commits_meanwhile(database: Database) -> None:
    count = select(func.count()).select_from(Resource)
    row = _resource(uuid4(), "Project", "p", None)

    with database.read() as session:
        before = session.scalar(count)
        database.transact(lambda writer: writer.execute(insert(Resource), [row]))
        during = session.scalar(count)
    with database.read() as session:
        after = session.scalar(count)

    assert (before, during, after) == (0, 0, 1)


def test_work_begins_when_nobody_else_writes(database: Database) -> None:
    """A clock that it reads before its first statement then tells the moment of the write."""
    others = []

    def work(_: Session) -> None:
        others.append(_can_write(database))

    database.transact(work)

    assert others == [False]
    assert _can_write(database)


def _can_write(database: Database) -> bool:
    """Whether somebody else could write now, without waiting."""
    if not database.is_sqlite:
        with database.engine.begin() as other:
            query = text("SELECT pg_try_advisory_xact_lock(:key)")
            return bool(other.scalar(query, {"key": LINEAGE_LOCK}))
    with closing(sqlite3.connect(str(database.url.database), timeout=0)) as other:
        try:
            other.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            return False
        return True


def test_events_are_stored_as_they_are(database: Database) -> None:
    events = [_event(name) for name in ("first", "se\tcond", "th\\ird\n", "üñ 'ᚠ' \"")]

    database.transact(lambda session: record_events(session, events))

    with database.read() as session:
        assert select_unpublished(session, 10) == events


def test_events_whose_connection_is_lost_are_written_by_another(database: Database) -> None:
    if database.is_sqlite:
        pytest.skip("SQLite has no connection to lose")
    attempts = []

    def work(session: Session) -> None:
        backend = session.scalar(text("SELECT pg_backend_pid()"))
        attempts.append(backend)
        if len(attempts) == 1:
            with database.engine.begin() as other:
                other.execute(text("SELECT pg_terminate_backend(:pid)"), {"pid": backend})
        record_events(session, [_event("told")])

    database.transact(work)

    assert len(set(attempts)) == 2
    with database.read() as session:
        assert [event.payload["name"] for event in select_unpublished(session, 10)] == ["told"]


def test_the_longest_overdue_flow_comes_first(database: Database) -> None:
    hours = {0: 1, 1: 3, 2: 2, 3: -1}
    deadlines = {number: NOW - timedelta(hours=late) for number, late in hours.items()}
    database.transact(
        lambda session: fill(
            session, len(hours), flow=lambda number: {"due_deadline": deadlines[number]}
        )
    )

    with database.read() as session:
        assert select_past_due(session, NOW, 10) == [flow_id(1), flow_id(2), flow_id(0)]
        assert select_past_due(session, NOW, 1) == [flow_id(1)]


def _event(name: str) -> Event:
    labels = {"prefect.resource.id": f"instances.test.{uuid4()}", "prefect.resource.name": name}
    return Event(
        uuid4(), "instance.test", datetime(2026, 1, 2, tzinfo=UTC), labels, (labels,),
        {"name": name, "none": None, "number": 1.5, "yes": True},
    )  # fmt: skip


def test_a_signal_that_an_error_of_the_driver_replaced_is_raised_again(database: Database) -> None:
    row = _resource(uuid4(), "Project", "p", None)

    def work(session: Session) -> None:
        try:
            raise KeyboardInterrupt
        except KeyboardInterrupt:
            session.execute(insert(Resource), [row, row])

    with pytest.raises(KeyboardInterrupt):
        database.transact(work)
