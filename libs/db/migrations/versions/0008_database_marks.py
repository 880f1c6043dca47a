"""what a database says of itself: its identity, and when it was last swept

Revision ID: 0008
Revises: 0007
"""

import sqlalchemy as sa
from alembic import op

from prefect_instances.libs.db.types import UtcDateTime

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

TABLE = "database_marks"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        TABLE,
        sa.Column("id", sa.Integer(), nullable=False),
        sa.Column("identity", sa.Uuid(), nullable=False),
        sa.Column("swept_at", UtcDateTime(), nullable=True),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_database_marks")),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table(TABLE)
