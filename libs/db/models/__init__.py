"""The tables, one module for each aggregate."""

from prefect_instances.libs.db.models.backfills import Backfill
from prefect_instances.libs.db.models.base import Base
from prefect_instances.libs.db.models.components import (
    AccessorInstance,
    ExecutorInstance,
    PipelineInstance,
    StoreInstance,
)
from prefect_instances.libs.db.models.datasets import (
    DatasetInstance,
    DatasetVersion,
    SignalInstance,
)
from prefect_instances.libs.db.models.definitions import (
    AccessorDef,
    DefinitionCall,
    ExecutorDef,
    MLModuleDef,
    OpDef,
    OpMacroDef,
    PipelineDef,
    PortfolioOptimizerDef,
    StoreDef,
)
from prefect_instances.libs.db.models.external_jobs import ExternalJob
from prefect_instances.libs.db.models.flows import FlowExecutionResource, LineageEdge
from prefect_instances.libs.db.models.gates import GateOpening, RunRequest
from prefect_instances.libs.db.models.guardrails import GuardrailReport
from prefect_instances.libs.db.models.instances import (
    BacktestInstance,
    ExperimentInstance,
    ModelInstance,
    PortfolioOptimizerInstance,
)
from prefect_instances.libs.db.models.marks import DatabaseMark
from prefect_instances.libs.db.models.outbox import OutboxEvent
from prefect_instances.libs.db.models.resources import Resource, ResourceVersion
from prefect_instances.libs.db.models.runs import RunRecord
from prefect_instances.libs.db.models.subscribers import LiveRelay

__all__ = [
    "AccessorDef",
    "AccessorInstance",
    "Backfill",
    "BacktestInstance",
    "Base",
    "DatabaseMark",
    "DatasetInstance",
    "DatasetVersion",
    "DefinitionCall",
    "ExecutorDef",
    "ExecutorInstance",
    "ExperimentInstance",
    "ExternalJob",
    "FlowExecutionResource",
    "GateOpening",
    "GuardrailReport",
    "LineageEdge",
    "LiveRelay",
    "MLModuleDef",
    "ModelInstance",
    "OpDef",
    "OpMacroDef",
    "OutboxEvent",
    "PipelineDef",
    "PipelineInstance",
    "PortfolioOptimizerDef",
    "PortfolioOptimizerInstance",
    "Resource",
    "ResourceVersion",
    "RunRecord",
    "RunRequest",
    "SignalInstance",
    "StoreDef",
    "StoreInstance",
]
