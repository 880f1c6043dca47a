"""Alembic's environment: runs on the connection that ``libs.db.migrate`` hands over."""

from typing import Any, Literal

from alembic import context
from alembic.autogenerate.api import AutogenContext
from sqlalchemy import JSON

from prefect_instances.libs.db.models import Base
from prefect_instances.libs.db.types import UtcDateTime


def render_item(kind: str, item: Any, autogen: AutogenContext) -> str | Literal[False]:
    """Render our column types as SQLAlchemy's, so that a migration never changes with our code."""
    if kind == "type" and isinstance(item, UtcDateTime):
        return "sa.DateTime(timezone=True)"
    if kind == "type" and isinstance(item, JSON):
        autogen.imports.add("from sqlalchemy.dialects.postgresql import JSONB")
        return "sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), 'postgresql')"
    return False


connection = context.config.attributes.get("connection")
if connection is None:
    raise SystemExit(
        "migrations run through `instances up` or prefect_instances.libs.db.migrate, not `alembic`"
    )
context.configure(
    connection=connection,
    target_metadata=Base.metadata,
    compare_server_default=True,
    render_as_batch=True,
    render_item=render_item,
)
context.run_migrations()
