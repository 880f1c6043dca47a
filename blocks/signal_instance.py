"""The block type "Signal instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import SignalSpec


class SignalInstance(InstanceBlock, SignalSpec):
    """A signal: a dataset whose values satisfy a contract."""

    _block_type_name: ClassVar[str | None] = "Signal instance"
    _block_type_slug: ClassVar[str | None] = "signal-instance"
    PICTURE: ClassVar[str] = "activity"
    _description: ClassVar[str | None] = (
        "A signal: a dataset whose values satisfy a contract. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import SignalInstance

        momentum = SignalInstance(
            name="momentum_12m",
            project="demo",
            pipeline={
                "definition": "expression",
                "config": {"expression": "ZSCORE(DELTA(close, 252))"},
            },
            upstream_refs=[{"resource": "sp500_prices", "role": "input"}],
            signal={"min_value": -10, "max_value": 10},
        )
        momentum.save("demo--momentum-12m")
        ```"""
