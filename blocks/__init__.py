"""Typed Prefect blocks: the saved configuration of instances, and what they are connected to.

What belongs here: block classes and how flows take them as parameters. What must not: fields (they
are the spec models') and decisions. Only our own classes are exported, because
``prefect block register -m blocks`` registers every block class that it finds here.
"""

from prefect_instances.blocks.backtest_instance import BacktestInstance
from prefect_instances.blocks.centrifugo import Centrifugo
from prefect_instances.blocks.dataset_instance import DatasetInstance
from prefect_instances.blocks.experiment_instance import ExperimentInstance
from prefect_instances.blocks.model_instance import ModelInstance
from prefect_instances.blocks.object_store import ObjectStore
from prefect_instances.blocks.parameters import BLOCKS, AnyInstance, block_for, block_from
from prefect_instances.blocks.portfolio_optimizer_instance import PortfolioOptimizerInstance
from prefect_instances.blocks.signal_instance import SignalInstance

__all__ = [
    "BLOCKS",
    "AnyInstance",
    "BacktestInstance",
    "Centrifugo",
    "DatasetInstance",
    "ExperimentInstance",
    "ModelInstance",
    "ObjectStore",
    "PortfolioOptimizerInstance",
    "SignalInstance",
    "block_for",
    "block_from",
]
