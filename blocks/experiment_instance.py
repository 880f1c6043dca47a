"""The block type "Experiment instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import ExperimentSpec


class ExperimentInstance(InstanceBlock, ExperimentSpec):
    """An experiment: an expression, and statistics of its values."""

    _block_type_name: ClassVar[str | None] = "Experiment instance"
    _block_type_slug: ClassVar[str | None] = "experiment-instance"
    PICTURE: ClassVar[str] = "flask-conical"
    _description: ClassVar[str | None] = (
        "An experiment: an expression, and statistics of its values. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import ExperimentInstance

        experiment = ExperimentInstance(
            name="reversal_idea",
            project="demo",
            expression="-ZSCORE(DELTA(close, 21) / REF(close, 21))",
            upstream_refs=[{"resource": "sp500_prices"}],
            date_range={"start": "2016-01-01"},
        )
        experiment.save("demo--reversal-idea")
        ```"""
