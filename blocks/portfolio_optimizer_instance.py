"""The block type "Portfolio optimizer instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import OptimizerSpec


class PortfolioOptimizerInstance(InstanceBlock, OptimizerSpec):
    """A portfolio: an optimizer computes weights from signals and prices."""

    _block_type_name: ClassVar[str | None] = "Portfolio optimizer instance"
    _block_type_slug: ClassVar[str | None] = "portfolio-optimizer-instance"
    PICTURE: ClassVar[str] = "chart-pie"
    _description: ClassVar[str | None] = (
        "A portfolio: an optimizer computes weights from signals and prices. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import PortfolioOptimizerInstance

        portfolio = PortfolioOptimizerInstance(
            name="max_utility",
            project="demo",
            optimizer={"definition": "mean_variance"},
            constraints={"max_weight": 0.2},
            upstream_refs=[
                {"resource": "momentum_12m", "role": "signal"},
                {"resource": "sp500_prices", "role": "prices"},
            ],
        )
        portfolio.save("demo--max-utility")
        ```"""
