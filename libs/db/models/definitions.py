"""Extension tables of definitions, one for each kind; each version is a resource version."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from sqlalchemy import ForeignKey, String
from sqlalchemy.orm import Mapped, mapped_column

from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.types import Json


class DefinitionCall(Base):
    """A definition version that another one uses by name, as an expression uses an op.

    ``owner_id`` is the component instance, or the instance, for which this version is pinned.
    """

    __tablename__ = "definition_calls"

    owner_id: Mapped[UUID] = mapped_column(
        ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True
    )
    definition_version_id: Mapped[UUID] = mapped_column(
        ForeignKey("resource_versions.id"), primary_key=True
    )


class DefinitionColumns:
    """Columns of every kind of definition; they describe the newest registered version."""

    resource_id: Mapped[UUID] = mapped_column(
        ForeignKey("resources.id", ondelete="CASCADE"), primary_key=True
    )
    implementation: Mapped[str] = mapped_column(String(200))
    parameters_schema: Mapped[dict[str, Any]] = mapped_column(Json)
    status_aggregation_contract: Mapped[dict[str, Any]] = mapped_column(Json)
    compatibility_rules: Mapped[dict[str, Any]] = mapped_column(Json)


class PipelineDef(DefinitionColumns, Base):
    """A pipeline: the source of a dataset's rows."""

    __tablename__ = "pipeline_defs"


class StoreDef(DefinitionColumns, Base):
    """A store: where a dataset's versions are."""

    __tablename__ = "store_defs"


class AccessorDef(DefinitionColumns, Base):
    """An accessor: how a dataset's rows are read."""

    __tablename__ = "accessor_defs"


class OpDef(DefinitionColumns, Base):
    """An op: a typed function that expressions call."""

    __tablename__ = "op_defs"


class OpMacroDef(DefinitionColumns, Base):
    """A macro: a saved expression with parameters."""

    __tablename__ = "op_macro_defs"


class MLModuleDef(DefinitionColumns, Base):
    """An ML module: how a model is trained, predicts and is monitored."""

    __tablename__ = "ml_module_defs"


class PortfolioOptimizerDef(DefinitionColumns, Base):
    """An optimizer: how signals and a covariance become weights."""

    __tablename__ = "portfolio_optimizer_defs"


class ExecutorDef(DefinitionColumns, Base):
    """An executor: where the parts of a divisible computation run."""

    __tablename__ = "executor_defs"
