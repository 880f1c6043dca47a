"""Typed Prefect blocks: the saved configuration of instances, and what they are connected to.

What belongs here: block classes and how flows take them as parameters. What must not: fields (they
are the spec models') and decisions. Only our own classes are exported, because
``prefect block register -m blocks`` registers every block class that it finds here.
"""

from blocks.backtest_instance import BacktestInstance
from blocks.centrifugo import Centrifugo
from blocks.dataset_instance import DatasetInstance
from blocks.experiment_instance import ExperimentInstance
from blocks.model_instance import ModelInstance
from blocks.parameters import BLOCKS, AnyInstance, block_for, block_from
from blocks.portfolio_optimizer_instance import PortfolioOptimizerInstance
from blocks.signal_instance import SignalInstance

__all__ = [
    "BLOCKS",
    "AnyInstance",
    "BacktestInstance",
    "Centrifugo",
    "DatasetInstance",
    "ExperimentInstance",
    "ModelInstance",
    "PortfolioOptimizerInstance",
    "SignalInstance",
    "block_for",
    "block_from",
]
