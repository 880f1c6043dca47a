"""The block type "Backtest instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import BacktestSpec


class BacktestInstance(InstanceBlock, BacktestSpec):
    """A backtest: the performance of a portfolio that follows signals."""

    _block_type_name: ClassVar[str | None] = "Backtest instance"
    _block_type_slug: ClassVar[str | None] = "backtest-instance"
    PICTURE: ClassVar[str] = "history"
    _description: ClassVar[str | None] = (
        "A backtest: the performance of a portfolio that follows signals. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import BacktestInstance

        backtest = BacktestInstance(
            name="Q1_2024_Backtest",
            project="demo",
            assets={"universe": ["SPY", "QQQ", "IWM"], "benchmark": "SPY"},
            signals={"primary": "momentum_12m"},
            date_range={"start": "2024-01-01", "end": "2024-03-31"},
            config={"rebalance_frequency": "daily", "transaction_costs": 0.001},
        )
        backtest.save("demo--q1-2024-backtest")
        ```"""
