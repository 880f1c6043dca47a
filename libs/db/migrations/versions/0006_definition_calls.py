"""versions of the ops and macros that expressions keep to

Revision ID: 0006
Revises: 0005
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

TABLE = "definition_calls"


def upgrade() -> None:
    """Apply."""
    op.create_table(
        TABLE,
        sa.Column("owner_id", sa.Uuid(), nullable=False),
        sa.Column("definition_version_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["owner_id"],
            ["resources.id"],
            name=op.f("fk_definition_calls_owner_id_resources"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["definition_version_id"],
            ["resource_versions.id"],
            name=op.f("fk_definition_calls_definition_version_id_resource_versions"),
        ),
        sa.PrimaryKeyConstraint(
            "owner_id", "definition_version_id", name=op.f("pk_definition_calls")
        ),
    )


def downgrade() -> None:
    """Take back."""
    op.drop_table(TABLE)
