"""flows that definitions add: which count in the status, and their usual schedules

Revision ID: 0007
Revises: 0006
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

TABLE = "flow_execution_resources"
DOCUMENT = sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql")


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table(TABLE) as batch:
        batch.add_column(
            sa.Column("aggregated", sa.Boolean(), nullable=False, server_default=sa.true())
        )
        batch.add_column(sa.Column("schedule_json", DOCUMENT, nullable=True))


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table(TABLE) as batch:
        batch.drop_column("schedule_json")
        batch.drop_column("aggregated")
