"""deadlines that passed, told of once

Revision ID: 0003
Revises: 0002
"""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

TABLE, INDEX = "flow_execution_resources", "ix_flow_execution_resources_due"


def upgrade() -> None:
    """Apply."""
    with op.batch_alter_table(TABLE) as batch:
        batch.drop_index(INDEX)
        batch.add_column(
            sa.Column("breached", sa.Boolean(), nullable=False, server_default=sa.false())
        )
        batch.create_index(INDEX, ["breached", "due_deadline"])


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table(TABLE) as batch:
        batch.drop_index(INDEX)
        batch.drop_column("breached")
        batch.create_index(INDEX, ["status", "due_deadline"])
