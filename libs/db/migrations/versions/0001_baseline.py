"""The tables of the first release.

Revision ID: 0001_baseline
Revises:
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

from prefect_instances.libs.db.migrations.columns import (
    Column,
    boolean,
    choice,
    day,
    document,
    identity,
    instant,
    integer,
    reference,
    text,
    uuid,
)

revision = "0001_baseline"
down_revision = None
branch_labels = None
depends_on = None

DEFINITIONS = (
    "pipeline_defs",
    "store_defs",
    "accessor_defs",
    "op_defs",
    "op_macro_defs",
    "ml_module_defs",
    "portfolio_optimizer_defs",
    "executor_defs",
)
COMPONENTS = (
    "pipeline_instances",
    "store_instances",
    "accessor_instances",
    "executor_instances",
)


def upgrade() -> None:
    """Create every table; referenced tables come first."""
    _create_resources()
    _create_definitions()
    _create_components()
    _create_flows()
    _create_edges()
    _create_runs()
    _create_requests()
    _create_openings()
    _create_backfills()
    _create_datasets()
    _create_dataset_versions()
    _create_computing_instances()
    _create_models()
    _create_guardrail_reports()
    _create_outbox()
    _create_live_relay()
    _create_database_marks()


def _create_resources() -> None:
    op.create_table(
        "resources",
        identity(),
        text("type", 40),
        reference("parent_id", "resources.id", nullable=True),
        text("scope", 40),
        text("name", 200),
        text("name_key", 200),
        choice("lifecycle"),
        choice("status", nullable=True),
        document("contract", nullable=True),
        document("condition", nullable=True),
        instant("created_at"),
        instant("updated_at"),
        integer("live_seq", default="0"),
        sa.UniqueConstraint("scope", "name_key", name="uq_resources_name_in_parent"),
    )
    op.create_index("ix_resources_parent_id", "resources", ["parent_id"])
    op.create_index("ix_resources_type", "resources", ["type"])


def _create_definitions() -> None:
    op.create_table(
        "resource_versions",
        identity(),
        reference("resource_id", "resources.id", cascade=True),
        integer("number"),
        text("label", 80),
        text("content_hash", 64),
        document("spec_json"),
        instant("created_at"),
        sa.UniqueConstraint("resource_id", "number", name="uq_resource_versions_number"),
        sa.UniqueConstraint("resource_id", "label", name="uq_resource_versions_label"),
    )
    for table in DEFINITIONS:
        op.create_table(
            table,
            _resource(),
            text("implementation", 200),
            document("parameters_schema"),
            document("status_aggregation_contract"),
            document("compatibility_rules"),
        )


def _create_components() -> None:
    for table in COMPONENTS:
        op.create_table(
            table,
            _resource(),
            *_definition(),
            document("config_json"),
            reference("owner_id", "resources.id", nullable=True),
        )
    op.create_table(
        "definition_calls",
        reference("owner_id", "resources.id", cascade=True, key=True),
        reference("definition_version_id", "resource_versions.id", key=True),
    )


def _create_flows() -> None:
    op.create_table(
        "flow_execution_resources",
        identity(),
        reference("instance_id", "resources.id", cascade=True),
        text("kind", 40),
        *_flow_status(),
        *_flow_output(),
        *_flow_schedule(),
        sa.UniqueConstraint("instance_id", "kind", name="uq_flow_execution_resources_kind"),
        sa.UniqueConstraint("deployment_id", name="uq_flow_execution_resources_deployment"),
        sa.CheckConstraint("generation >= 0", name="generation"),
    )
    op.create_index(
        "ix_flow_execution_resources_due", "flow_execution_resources", ["breached", "due_deadline"]
    )


def _flow_status() -> Sequence[Column]:
    return (
        choice("status"),
        choice("reason"),
        instant("since", nullable=True),
        text("detail"),
        uuid("deployment_id", nullable=True),
        uuid("running", nullable=True),
        text("opened_key", 80),
        integer("overtaken"),
        uuid("last_run_id", nullable=True),
    )


def _flow_output() -> Sequence[Column]:
    return (
        integer("generation"),
        uuid("version_id", nullable=True),
        text("content_hash", 64),
        integer("config_version"),
        integer("consumed_config_version"),
        instant("last_ready_at", nullable=True),
        day("last_data_date", nullable=True),
    )


def _flow_schedule() -> Sequence[Column]:
    return (
        instant("next_due_at", nullable=True),
        instant("due_deadline", nullable=True),
        boolean("breached", default=False),
        boolean("aggregated", default=True),
        document("schedule_json", nullable=True),
    )


def _create_edges() -> None:
    op.create_table(
        "lineage_edges",
        identity(),
        reference("upstream_flow_id", "flow_execution_resources.id"),
        reference("downstream_flow_id", "flow_execution_resources.id", cascade=True),
        integer("position"),
        text("role", 80),
        choice("require"),
        boolean("triggers"),
        integer("consumed_generation"),
        sa.UniqueConstraint(
            "upstream_flow_id", "downstream_flow_id", "role", name="uq_lineage_edges_role"
        ),
        sa.CheckConstraint("upstream_flow_id <> downstream_flow_id", name="no_self_reference"),
    )
    op.create_index("ix_lineage_edges_downstream", "lineage_edges", ["downstream_flow_id"])


def _create_runs() -> None:
    op.create_table(
        "runs",
        identity(),
        text("type", 40),
        _flow(),
        uuid("prefect_flow_run_id"),
        choice("status"),
        choice("cause"),
        integer("config_version"),
        instant("started_at"),
        instant("ended_at", nullable=True),
        instant("lease_until", nullable=True),
        uuid("opening_id", nullable=True),
        uuid("request_id", nullable=True),
        integer("retries"),
        uuid("output_version", nullable=True),
        *(document(name) for name in ("pins", "parameters", "metrics", "artifacts")),
        text("error"),
        sa.UniqueConstraint("prefect_flow_run_id", name="uq_runs_prefect_flow_run"),
    )
    op.create_index("ix_runs_flow", "runs", ["flow_id", "started_at"])
    op.create_index("ix_runs_status", "runs", ["status", "lease_until"])


def _create_requests() -> None:
    op.create_table(
        "run_requests",
        identity(),
        _flow(),
        choice("cause"),
        document("parameters"),
        instant("created_at"),
        instant("not_before"),
        choice("status"),
        integer("retries"),
        uuid("claimed_by", nullable=True),
    )
    op.create_index("ix_run_requests_flow", "run_requests", ["flow_id", "status"])
    _create_partial_index(
        "uq_run_requests_pending", "run_requests", "flow_id", "status = 'pending'", unique=True
    )


def _create_openings() -> None:
    op.create_table(
        "gate_openings",
        identity(),
        _flow(),
        text("cause_key", 80),
        choice("status"),
        instant("opened_at"),
        instant("announced_at"),
        instant("not_before"),
        integer("config_version"),
        document("vector"),
        uuid("request_id", nullable=True),
        integer("attempt"),
        integer("crashes"),
        uuid("claimed_by", nullable=True),
        sa.UniqueConstraint("flow_id", "cause_key", name="uq_gate_openings_cause"),
    )
    op.create_index("ix_gate_openings_status", "gate_openings", ["status", "announced_at"])


def _create_backfills() -> None:
    op.create_table(
        "backfills",
        identity(),
        _flow(),
        day("start_date"),
        day("end_date"),
        text("chunk", 10),
        boolean("downstream"),
        instant("created_at"),
        instant("finished_at", nullable=True),
    )
    op.create_index("ix_backfills_flow", "backfills", ["flow_id", "created_at"])


def _create_datasets() -> None:
    for table, own in (
        ("dataset_instances", ()),
        (
            "signal_instances",
            (document("signal_json"), uuid("promoted_from_id", nullable=True)),
        ),
    ):
        op.create_table(
            table,
            _resource(),
            reference("pipeline_instance_id", "pipeline_instances.resource_id"),
            reference("store_instance_id", "store_instances.resource_id"),
            reference("accessor_instance_id", "accessor_instances.resource_id"),
            reference("executor_instance_id", "executor_instances.resource_id"),
            *_definition(),
            *_configuration(),
            *own,
            uuid("prefect_deployment_id", nullable=True),
        )


def _create_dataset_versions() -> None:
    op.create_table(
        "dataset_versions",
        identity(),
        _flow(),
        integer("generation"),
        text("location", 400),
        integer("rows"),
        day("min_date", nullable=True),
        day("max_date", nullable=True),
        document("columns"),
        text("schema_hash", 64),
        text("content_hash", 64),
        reference("produced_by_run", "runs.id"),
        instant("created_at"),
        day("changed_from", nullable=True),
        sa.UniqueConstraint("flow_id", "generation", name="uq_dataset_versions_generation"),
    )


def _create_computing_instances() -> None:
    executor = reference("executor_instance_id", "executor_instances.resource_id")
    for table, more in (
        ("experiment_instances", (executor,)),
        ("portfolio_optimizer_instances", ()),
    ):
        op.create_table(
            table,
            _resource(),
            *_definition(nullable=True),
            *_configuration(),
            *more,
            uuid("prefect_deployment_id", nullable=True),
        )
    op.create_table(
        "backtest_instances",
        _resource(),
        *_configuration(),
        document("assets_json"),
        document("signals_json"),
        document("date_range_json"),
        uuid("prefect_deployment_id", nullable=True),
    )


def _create_models() -> None:
    op.create_table(
        "model_instances",
        _resource(),
        *_definition(nullable=True),
        *_configuration(),
        uuid("prefect_training_deployment_id", nullable=True),
        uuid("prefect_inference_deployment_id", nullable=True),
        uuid("prefect_monitoring_deployment_id", nullable=True),
        text("mlflow_experiment_id", 80, nullable=True),
        text("mlflow_registered_model_name", 200, nullable=True),
        text("evidently_project_id", 80, nullable=True),
    )


def _create_guardrail_reports() -> None:
    op.create_table(
        "guardrail_reports",
        identity(),
        reference("instance_id", "resources.id", cascade=True),
        reference("run_id", "runs.id", cascade=True, nullable=True),
        text("gate", 40),
        text("kind", 80),
        text("mode", 10),
        boolean("passed"),
        text("message"),
        document("details_json"),
        instant("created_at"),
    )
    op.create_index(
        "ix_guardrail_reports_instance", "guardrail_reports", ["instance_id", "created_at"]
    )
    op.create_index("ix_guardrail_reports_run", "guardrail_reports", ["run_id"])


def _create_outbox() -> None:
    sequence = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    op.create_table(
        "outbox",
        sa.Column("seq", sequence, primary_key=True, autoincrement=True),
        uuid("id"),
        text("name", 80),
        instant("occurred"),
        *(document(name) for name in ("resource", "related", "payload")),
        instant("published_at", nullable=True),
        integer("live_seq", nullable=True),
        instant("told_at", nullable=True),
        sa.UniqueConstraint("id"),
    )
    _create_partial_index("ix_outbox_unpublished", "outbox", "seq", "published_at IS NULL")
    _create_partial_index(
        "ix_outbox_untold", "outbox", "seq", "live_seq IS NOT NULL AND told_at IS NULL"
    )


def _create_live_relay() -> None:
    op.create_table(
        "live_relay",
        sa.Column("id", sa.Integer(), primary_key=True),
        boolean("configured"),
        uuid("holder", nullable=True),
        instant("lease_until", nullable=True),
        integer("failures"),
        instant("retry_at", nullable=True),
        instant("failing_since", nullable=True),
        text("reason"),
    )


def _create_database_marks() -> None:
    op.create_table(
        "database_marks",
        sa.Column("id", sa.Integer(), primary_key=True),
        uuid("identity"),
        instant("swept_at", nullable=True),
    )


def _resource() -> Column:
    """Build the primary key of a table that extends ``resources``."""
    return reference("resource_id", "resources.id", cascade=True, key=True)


def _flow() -> Column:
    return reference("flow_id", "flow_execution_resources.id", cascade=True)


def _definition(*, nullable: bool = False) -> Sequence[Column]:
    return (
        reference("definition_resource_id", "resources.id", nullable=nullable),
        reference("definition_version_id", "resource_versions.id", nullable=nullable),
    )


def _configuration() -> Sequence[Column]:
    return (
        document("config_json"),
        document("schedule_json"),
        document("upstream_refs"),
        uuid("block_document_id", nullable=True),
    )


def _create_partial_index(
    name: str, table: str, column: str, where: str, *, unique: bool = False
) -> None:
    rows = sa.text(where)
    op.create_index(name, table, [column], unique=unique, sqlite_where=rows, postgresql_where=rows)


def downgrade() -> None:
    """Refuse: there is no revision before the baseline."""
    raise NotImplementedError("the baseline is the first revision")
