"""backfills, and from which date a version differs

Revision ID: 0005
Revises: 0004
"""

import sqlalchemy as sa
from alembic import op

from prefect_instances.libs.db.types import UtcDateTime

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.add_column("dataset_versions", sa.Column("changed_from", sa.Date(), nullable=True))
    op.create_table(
        "backfills",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("flow_id", sa.Uuid(), nullable=False),
        sa.Column("start_date", sa.Date(), nullable=False),
        sa.Column("end_date", sa.Date(), nullable=False),
        sa.Column("chunk", sa.String(10), nullable=False),
        sa.Column("downstream", sa.Boolean(), nullable=False),
        sa.Column("created_at", UtcDateTime(), nullable=False),
        sa.Column("finished_at", UtcDateTime(), nullable=True),
        sa.ForeignKeyConstraint(
            ["flow_id"],
            ["flow_execution_resources.id"],
            name=op.f("fk_backfills_flow_id_flow_execution_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backfills")),
    )
    op.create_index("ix_backfills_flow", "backfills", ["flow_id", "created_at"])


def downgrade() -> None:
    """Take back."""
    op.drop_table("backfills")
    with op.batch_alter_table("dataset_versions") as batch:
        batch.drop_column("changed_from")
