"""The baseline makes the schema of the models, and later migrations keep every row."""

from __future__ import annotations

import shutil
import sqlite3
import sys
from collections.abc import Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from sqlalchemy import Column, Table, insert, inspect, select, text
from sqlalchemy.orm import Session

from prefect_instances.cli.doctor_checks import Level, check_schema
from prefect_instances.cli.runtime.database import bring_up_to_date
from prefect_instances.libs.db import (
    Database,
    NotBackedUp,
    UnknownRevision,
    back_up,
    current_revision,
    head_revision,
    migrate,
    sqlite_url,
)
from prefect_instances.libs.db.engine import BrokenReferences
from prefect_instances.libs.db.models import Base
from prefect_instances.libs.db.types import UtcDateTime
from tests.databases import on_both_databases

schema = sys.modules[migrate.__module__]
"""The module; the package's function of the same name hides it."""

Rows = Mapping[str, list[dict[str, Any]]]
VALUES: dict[type, Any] = {
    bool: True, int: 7, str: "text", object: {"a": [1, None]}, UUID: None,
    date: date(2026, 1, 2), datetime: datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
}  # fmt: skip

SECOND = '''
"""A revision that only a test has: on SQLite it copies and drops tables that others reference."""
import sqlalchemy as sa
from alembic import op

revision = "0003_test"
down_revision = "0002_external_jobs"


def upgrade():
    op.add_column("runs", sa.Column("host", sa.String(20), nullable=False, server_default="here"))
    changed = {"resources": "type", "flow_execution_resources": "kind", "runs": "type"}
    for table, column in changed.items():
        with op.batch_alter_table(table) as batch:
            batch.alter_column(column, type_=sa.String(50), existing_nullable=False)
            batch.add_column(sa.Column("extra", sa.Integer(), nullable=False, server_default="5"))
'''

BREAKING = '''
"""A revision that only a test has: it leaves rows whose resource is gone."""
from alembic import op

revision = "0003_test"
down_revision = "0002_external_jobs"


def upgrade():
    op.execute("DELETE FROM resources")
'''


@on_both_databases
def test_the_baseline_makes_the_schema_of_the_models(database: Database) -> None:
    with database.read() as session:
        context = MigrationContext.configure(
            session.connection(), opts={"compare_type": True, "compare_server_default": True}
        )
        differences = compare_metadata(context, Base.metadata)

    assert differences == []
    # PostgreSQL shortens names of more than 63 characters.
    named = database.engine.dialect.identifier_preparer.format_constraint
    assert _constraints(database) == {
        name: {named(each) for each in table.constraints if each.name}
        for name, table in Base.metadata.tables.items()
    }


@on_both_databases
def test_a_migration_of_a_full_database_keeps_every_row(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = database.transact(_fill)
    _add_revision(SECOND, tmp_path, monkeypatch)

    migrate(database)

    assert current_revision(database) == "0003_test"
    with database.read() as session:
        assert _read(session) == before
        added = session.execute(text("SELECT host, extra FROM runs")).all()
    assert added == [("here", 5)] * 2
    assert _foreign_keys(database)


@on_both_databases
@pytest.mark.parametrize("revision", ["0001_baseline"])
def test_a_full_database_of_an_earlier_release_keeps_every_row(
    database: Database, revision: str
) -> None:
    Base.metadata.drop_all(database.engine)
    database.transact(lambda session: session.execute(text("DROP TABLE alembic_version")))
    migrate(database, revision)
    before = database.transact(_fill)
    assert all(before.values())

    migrate(database)

    assert current_revision(database) == head_revision()
    with database.read() as session:
        after = _read(session)
    assert {table: after[table] for table in before} == before
    assert not any(after[table] for table in after.keys() - before.keys())


def test_a_migration_that_breaks_references_changes_nothing(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = database.transact(_fill)
    _add_revision(BREAKING, tmp_path, monkeypatch)

    with pytest.raises(BrokenReferences) as raised:
        migrate(database)

    assert "flow_execution_resources" in raised.value.tables
    with database.read() as session:
        assert _read(session) == before
    assert _foreign_keys(database)


@pytest.mark.parametrize("revision", ["0001", "0007", "9999_newer"])
def test_a_database_of_another_version_is_refused_in_one_line(
    database: Database, revision: str
) -> None:
    database.transact(
        lambda session: session.execute(
            text("UPDATE alembic_version SET version_num = :it"), {"it": revision}
        )
    )

    with pytest.raises(UnknownRevision) as raised:
        bring_up_to_date(database, pytest.fail)

    with pytest.raises(UnknownRevision):
        migrate(database)
    finding = check_schema(database)
    assert raised.value.revision == revision
    assert (finding.level, finding.advice) == (Level.FAIL, UnknownRevision.advice)
    assert "\n" not in str(raised.value)
    assert "INSTANCES_HOME" in str(raised.value)
    assert current_revision(database) == revision


def test_a_file_is_backed_up_before_it_is_migrated(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database.transact(_fill)
    _add_revision(SECOND, tmp_path, monkeypatch)
    said: list[str] = []

    bring_up_to_date(database, said.append)
    bring_up_to_date(database, said.append)

    (copy,) = (tmp_path / "backups").iterdir()
    assert [str(copy) in line for line in said] == [True]
    with sqlite3.connect(copy) as connection:
        revisions = connection.execute("SELECT version_num FROM alembic_version").fetchall()
        runs = connection.execute("SELECT count(*) FROM runs").fetchone()
    connection.close()
    assert (revisions, runs) == ([("0002_external_jobs",)], (2,))


def test_the_last_two_backups_stay(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add_revision(SECOND, tmp_path, monkeypatch)

    copies = [back_up(database) for _ in range(3)]

    assert {*copies[1:]} == {*(tmp_path / "backups").iterdir()}


def test_a_file_that_cannot_be_backed_up_is_not_migrated(
    database: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _add_revision(SECOND, tmp_path, monkeypatch)
    (tmp_path / "backups").touch()

    with pytest.raises(NotBackedUp):
        bring_up_to_date(database, pytest.fail)

    assert current_revision(database) == "0002_external_jobs"


def test_a_new_database_needs_no_backup(tmp_path: Path) -> None:
    database = Database(sqlite_url(tmp_path / "instances.db"))

    bring_up_to_date(database, pytest.fail)

    assert current_revision(database) == head_revision()
    assert not (tmp_path / "backups").exists()
    database.close()


def _add_revision(code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "migrations"
    shutil.copytree(schema.MIGRATIONS, folder)
    (folder / "versions" / "0003_test.py").write_text(code)
    monkeypatch.setattr(schema, "MIGRATIONS", folder)


def _foreign_keys(database: Database) -> bool:
    """Whether the pooled connection refuses a row that references a missing one."""
    if not database.is_sqlite:
        return True
    with database.read() as session:
        return bool(session.scalar(text("PRAGMA foreign_keys")))


def _constraints(database: Database) -> dict[str, set[str]]:
    found = inspect(database.engine)
    return {
        table: {
            str(each["name"])
            for each in (
                found.get_pk_constraint(table),
                *found.get_foreign_keys(table),
                *found.get_unique_constraints(table),
                *found.get_check_constraints(table),
            )
        }
        for table in found.get_table_names()
        if table != "alembic_version"
    }


def _fill(session: Session) -> Rows:
    """Write two rows into every table there is, each referencing rows of the tables before it."""
    keys: dict[Column[Any], list[Any]] = {}
    for table in _tables(session):
        rows = [_row(table, keys, place) for place in range(2)]
        session.execute(insert(table), rows)
        for column in table.columns:
            keys[column] = [row[column.name] for row in rows]
    return _read(session)


def _row(table: Table, keys: Mapping[Column[Any], list[Any]], place: int) -> dict[str, Any]:
    return {column.name: _value(column, keys, place) for column in table.columns}


def _value(column: Column[Any], keys: Mapping[Column[Any], list[Any]], place: int) -> Any:
    for foreign in column.foreign_keys:
        # A row that references its own table has no row to reference yet.
        if foreign.column not in keys:
            return None
        # Two columns of an edge reference the same table, and never the same row.
        return keys[foreign.column][place - (column.name == "upstream_flow_id")]
    kind = datetime if isinstance(column.type, UtcDateTime) else column.type.python_type
    if kind is UUID:
        return uuid4()
    if kind is int:
        return place + 1
    if kind is str:
        return f"{column.name} {place}"[: getattr(column.type, "length", None)]
    return next(iter(kind)) if kind not in VALUES else VALUES[kind]


def _read(session: Session) -> Rows:
    return {
        table.name: [
            dict(row)
            for row in session.execute(select(table).order_by(*table.primary_key)).mappings()
        ]
        for table in _tables(session)
    }


def _tables(session: Session) -> list[Table]:
    there = inspect(session.connection()).get_table_names()
    return [table for table in Base.metadata.sorted_tables if table.name in there]
