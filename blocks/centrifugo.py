"""The block type "Centrifugo": where status changes are published to."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.pictured_block import PicturedBlock
from prefect_instances.libs.adapters.centrifugo.connection import Connection


class Centrifugo(PicturedBlock, Connection):
    """The Centrifugo server that publishes every status change; see docs/realtime.md."""

    _block_type_name: ClassVar[str | None] = "Centrifugo"
    _block_type_slug: ClassVar[str | None] = "centrifugo"
    PICTURE: ClassVar[str] = "radio-tower"
    _description: ClassVar[str | None] = (
        "The Centrifugo server that publishes every status change. Save it under the name in "
        "INSTANCES_CENTRIFUGO_BLOCK, by default 'instances'."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import Centrifugo

        Centrifugo(
            url="http://localhost:8000/api", api_key="...", hmac_secret="..."
        ).save("instances")
        ```"""
