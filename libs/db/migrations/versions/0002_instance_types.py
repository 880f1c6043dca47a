"""all instance types

Revision ID: 0002
Revises: 0001
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Apply."""
    op.create_table(
        "backtest_instances",
        sa.Column(
            "assets_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "signals_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "date_range_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("prefect_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column(
            "config_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "schedule_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "upstream_refs",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("block_document_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_backtest_instances_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_backtest_instances")),
    )
    op.create_table(
        "ml_module_defs",
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("implementation", sa.String(length=200), nullable=False),
        sa.Column(
            "parameters_schema",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "status_aggregation_contract",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "compatibility_rules",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_ml_module_defs_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_ml_module_defs")),
    )
    op.create_table(
        "op_defs",
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("implementation", sa.String(length=200), nullable=False),
        sa.Column(
            "parameters_schema",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "status_aggregation_contract",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "compatibility_rules",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_op_defs_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_op_defs")),
    )
    op.create_table(
        "op_macro_defs",
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("implementation", sa.String(length=200), nullable=False),
        sa.Column(
            "parameters_schema",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "status_aggregation_contract",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "compatibility_rules",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_op_macro_defs_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_op_macro_defs")),
    )
    op.create_table(
        "portfolio_optimizer_defs",
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column("implementation", sa.String(length=200), nullable=False),
        sa.Column(
            "parameters_schema",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "status_aggregation_contract",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "compatibility_rules",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_portfolio_optimizer_defs_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_portfolio_optimizer_defs")),
    )
    op.create_table(
        "experiment_instances",
        sa.Column("prefect_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("definition_resource_id", sa.Uuid(), nullable=True),
        sa.Column("definition_version_id", sa.Uuid(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column(
            "config_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "schedule_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "upstream_refs",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("block_document_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_resource_id"],
            ["resources.id"],
            name=op.f("fk_experiment_instances_definition_resource_id_resources"),
        ),
        sa.ForeignKeyConstraint(
            ["definition_version_id"],
            ["resource_versions.id"],
            name=op.f("fk_experiment_instances_definition_version_id_resource_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_experiment_instances_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_experiment_instances")),
    )
    op.create_table(
        "model_instances",
        sa.Column("prefect_training_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("prefect_inference_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("prefect_monitoring_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("mlflow_experiment_id", sa.String(length=80), nullable=True),
        sa.Column("mlflow_registered_model_name", sa.String(length=200), nullable=True),
        sa.Column("evidently_project_id", sa.String(length=80), nullable=True),
        sa.Column("definition_resource_id", sa.Uuid(), nullable=True),
        sa.Column("definition_version_id", sa.Uuid(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column(
            "config_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "schedule_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "upstream_refs",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("block_document_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_resource_id"],
            ["resources.id"],
            name=op.f("fk_model_instances_definition_resource_id_resources"),
        ),
        sa.ForeignKeyConstraint(
            ["definition_version_id"],
            ["resource_versions.id"],
            name=op.f("fk_model_instances_definition_version_id_resource_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_model_instances_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_model_instances")),
    )
    op.create_table(
        "portfolio_optimizer_instances",
        sa.Column("prefect_deployment_id", sa.Uuid(), nullable=True),
        sa.Column("definition_resource_id", sa.Uuid(), nullable=True),
        sa.Column("definition_version_id", sa.Uuid(), nullable=True),
        sa.Column("resource_id", sa.Uuid(), nullable=False),
        sa.Column(
            "config_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "schedule_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column(
            "upstream_refs",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("block_document_id", sa.Uuid(), nullable=True),
        sa.ForeignKeyConstraint(
            ["definition_resource_id"],
            ["resources.id"],
            name=op.f("fk_portfolio_optimizer_instances_definition_resource_id_resources"),
        ),
        sa.ForeignKeyConstraint(
            ["definition_version_id"],
            ["resource_versions.id"],
            name=op.f("fk_portfolio_optimizer_instances_definition_version_id_resource_versions"),
        ),
        sa.ForeignKeyConstraint(
            ["resource_id"],
            ["resources.id"],
            name=op.f("fk_portfolio_optimizer_instances_resource_id_resources"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("resource_id", name=op.f("pk_portfolio_optimizer_instances")),
    )
    op.create_table(
        "guardrail_reports",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("instance_id", sa.Uuid(), nullable=False),
        sa.Column("run_id", sa.Uuid(), nullable=True),
        sa.Column("gate", sa.String(length=40), nullable=False),
        sa.Column("kind", sa.String(length=80), nullable=False),
        sa.Column("mode", sa.String(length=10), nullable=False),
        sa.Column("passed", sa.Boolean(), nullable=False),
        sa.Column("message", sa.Text(), nullable=False),
        sa.Column(
            "details_json",
            sa.JSON(none_as_null=True).with_variant(JSONB(none_as_null=True), "postgresql"),
            nullable=False,
        ),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.ForeignKeyConstraint(
            ["instance_id"],
            ["resources.id"],
            name=op.f("fk_guardrail_reports_instance_id_resources"),
            ondelete="CASCADE",
        ),
        sa.ForeignKeyConstraint(
            ["run_id"],
            ["runs.id"],
            name=op.f("fk_guardrail_reports_run_id_runs"),
            ondelete="CASCADE",
        ),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_guardrail_reports")),
    )
    with op.batch_alter_table("guardrail_reports", schema=None) as batch_op:
        batch_op.create_index(
            "ix_guardrail_reports_instance", ["instance_id", "created_at"], unique=False
        )
        batch_op.create_index("ix_guardrail_reports_run", ["run_id"], unique=False)


def downgrade() -> None:
    """Take back."""
    with op.batch_alter_table("guardrail_reports", schema=None) as batch_op:
        batch_op.drop_index("ix_guardrail_reports_run")
        batch_op.drop_index("ix_guardrail_reports_instance")

    op.drop_table("guardrail_reports")
    op.drop_table("portfolio_optimizer_instances")
    op.drop_table("model_instances")
    op.drop_table("experiment_instances")
    op.drop_table("portfolio_optimizer_defs")
    op.drop_table("op_macro_defs")
    op.drop_table("op_defs")
    op.drop_table("ml_module_defs")
    op.drop_table("backtest_instances")
