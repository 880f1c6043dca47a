"""numbered messages for subscribers, and who relays them

Revision ID: 0004
Revises: 0003
"""

import sqlalchemy as sa
from alembic import op

from prefect_instances.libs.db.types import UtcDateTime

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

INDEX = "ix_outbox_untold"
UNTOLD = "live_seq IS NOT NULL AND told_at IS NULL"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table("resources") as batch:
        batch.add_column(sa.Column("live_seq", sa.Integer(), nullable=False, server_default="0"))
    with op.batch_alter_table("outbox") as batch:
        batch.add_column(sa.Column("live_seq", sa.Integer(), nullable=True))
        batch.add_column(sa.Column("told_at", UtcDateTime(), nullable=True))
        batch.create_index(
            INDEX, ["seq"], sqlite_where=sa.text(UNTOLD), postgresql_where=sa.text(UNTOLD)
        )
    op.create_table(
        "live_relay",
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("configured", sa.Boolean(), nullable=False),
        sa.Column("holder", sa.Uuid(), nullable=True),
        sa.Column("lease_until", UtcDateTime(), nullable=True),
        sa.Column("failures", sa.Integer(), nullable=False),
        sa.Column("retry_at", UtcDateTime(), nullable=True),
        sa.Column("failing_since", UtcDateTime(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_live_relay")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table("live_relay")
    with op.batch_alter_table("outbox") as batch:
        batch.drop_index(INDEX)
        batch.drop_column("told_at")
        batch.drop_column("live_seq")
    with op.batch_alter_table("resources") as batch:
        batch.drop_column("live_seq")
