"""Jobs outside that a repeated run continues with.

Revision ID: 0002_external_jobs
Revises: 0001_baseline
"""

import sqlalchemy as sa
from alembic import op

from prefect_instances.libs.db.migrations.columns import instant, reference, text, uuid

revision = "0002_external_jobs"
down_revision = "0001_baseline"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Create the table."""
    op.create_table(
        "external_jobs",
        reference("flow_id", "flow_execution_resources.id", cascade=True, key=True),
        sa.Column("name", sa.String(80), primary_key=True),
        text("fingerprint", 64),
        uuid("token"),
        text("system", 200),
        text("job_id"),
        uuid("run_id"),
        instant("created_at"),
    )
