"""The block type "Dataset instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import DatasetSpec


class DatasetInstance(InstanceBlock, DatasetSpec):
    """A dataset: a pipeline extracts it, a store keeps it, an accessor reads it."""

    _block_type_name: ClassVar[str | None] = "Dataset instance"
    _block_type_slug: ClassVar[str | None] = "dataset-instance"
    PICTURE: ClassVar[str] = "database"
    _description: ClassVar[str | None] = (
        "A dataset: a pipeline extracts it, a store keeps it, an accessor reads it. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import DatasetInstance

        prices = DatasetInstance(
            name="sp500_prices",
            project="demo",
            pipeline={"definition": "market_data", "config": {"source": "us_stocks"}},
            schedule={
                "type": "cron",
                "expression": "0 6 * * 1-5",
                "timezone": "America/New_York",
                "calendar": "XNYS",
            },
        )
        prices.save("demo--sp500-prices")
        ```"""
