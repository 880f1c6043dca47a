"""The tables, one aggregate a file."""

from libs.db.models.backfills import Backfill
from libs.db.models.base import Base
from libs.db.models.components import AccessorInstance, PipelineInstance, StoreInstance
from libs.db.models.datasets import DatasetInstance, DatasetVersion, SignalInstance
from libs.db.models.definitions import (
    AccessorDef,
    DefinitionCall,
    MLModuleDef,
    OpDef,
    OpMacroDef,
    PipelineDef,
    PortfolioOptimizerDef,
    StoreDef,
)
from libs.db.models.flows import FlowExecutionResource, LineageEdge
from libs.db.models.gates import GateOpening, RunRequest
from libs.db.models.guardrails import GuardrailReport
from libs.db.models.instances import (
    BacktestInstance,
    ExperimentInstance,
    ModelInstance,
    PortfolioOptimizerInstance,
)
from libs.db.models.live import LiveRelay
from libs.db.models.outbox import OutboxEvent
from libs.db.models.resources import Resource, ResourceVersion
from libs.db.models.runs import RunRecord

__all__ = [
    "AccessorDef",
    "AccessorInstance",
    "Backfill",
    "BacktestInstance",
    "Base",
    "DatasetInstance",
    "DatasetVersion",
    "DefinitionCall",
    "ExperimentInstance",
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
