"""Columns for migrations: SQLAlchemy's own types only, so that our types may change later."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects.postgresql import JSONB

Column = sa.Column[Any]


def identity() -> Column:
    """Build the primary key ``id``, a UUID."""
    return sa.Column("id", sa.Uuid(), primary_key=True)


def uuid(name: str, *, nullable: bool = False) -> Column:
    """Build a UUID column that references no table."""
    return sa.Column(name, sa.Uuid(), nullable=nullable)


def reference(
    name: str, target: str, *, cascade: bool = False, nullable: bool = False, key: bool = False
) -> Column:
    """Build a UUID column with a foreign key to ``target``, written ``table.column``.

    ``cascade`` deletes the row with the row it references; ``key`` makes the column part of the
    primary key.
    """
    foreign = sa.ForeignKey(target, ondelete="CASCADE" if cascade else None)
    return sa.Column(name, sa.Uuid(), foreign, nullable=nullable, primary_key=key)


def text(name: str, length: int | None = None, *, nullable: bool = False) -> Column:
    """Build a text column of at most ``length`` characters; None: of any length."""
    kind = sa.Text() if length is None else sa.String(length)
    return sa.Column(name, kind, nullable=nullable)


def choice(name: str, *, nullable: bool = False) -> Column:
    """Build the column of an enumeration; the database holds its values as plain text."""
    return text(name, 40, nullable=nullable)


def integer(name: str, *, nullable: bool = False, default: str | None = None) -> Column:
    """Build an integer column; ``default`` is the server's, as SQL."""
    return sa.Column(name, sa.Integer(), nullable=nullable, server_default=default)


def boolean(name: str, *, default: bool | None = None) -> Column:
    """Build a boolean column without NULL; ``default`` is the server's, None: there is none."""
    on_server = None if default is None else sa.true() if default else sa.false()
    return sa.Column(name, sa.Boolean(), nullable=False, server_default=on_server)


def day(name: str, *, nullable: bool = False) -> Column:
    """Build a column of calendar dates."""
    return sa.Column(name, sa.Date(), nullable=nullable)


def instant(name: str, *, nullable: bool = False) -> Column:
    """Build a column of instants with a time zone."""
    return sa.Column(name, sa.DateTime(timezone=True), nullable=nullable)


def document(name: str, *, nullable: bool = False) -> Column:
    """Build a JSON column, JSONB on PostgreSQL; None is NULL and not the JSON null."""
    kind = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")
    return sa.Column(name, kind, nullable=nullable)
