"""What a session of the database sees, on either dialect."""

from __future__ import annotations

from uuid import uuid4

from sqlalchemy import func, insert, select

from libs.db import Database
from libs.db.models import Resource
from tests.property.sql_backend import _resource


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
