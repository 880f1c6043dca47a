"""The block type "Model instance"."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.instance_block import InstanceBlock
from prefect_instances.libs.specs import ModelSpec


class ModelInstance(InstanceBlock, ModelSpec):
    """A model: trained on its upstreams, predicts returns, monitored for drift."""

    _block_type_name: ClassVar[str | None] = "Model instance"
    _block_type_slug: ClassVar[str | None] = "model-instance"
    PICTURE: ClassVar[str] = "brain-circuit"
    _description: ClassVar[str | None] = (
        "A model: trained on its upstreams, predicts returns, monitored for drift. "
        "To create it, run the flow provision-instance with this block."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import ModelInstance

        model = ModelInstance(
            name="return_model",
            project="demo",
            module={"definition": "gradient_boosting"},
            features=[{"role": "momentum", "column": "value", "lags": [0, 5]}],
            upstream_refs=[
                {"resource": "momentum_12m", "role": "momentum"},
                {"resource": "sp500_prices", "role": "prices"},
            ],
        )
        model.save("demo--return-model")
        ```"""
