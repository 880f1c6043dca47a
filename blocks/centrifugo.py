"""The block type "Centrifugo": where status changes are published to."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from pydantic import HttpUrl

from prefect_instances.blocks.instance_block import logo
from prefect_instances.libs.adapters.centrifugo.connection import Connection


class Centrifugo(Block, Connection):
    """The Centrifugo server that publishes every status change; see docs/realtime.md."""

    _block_type_name: ClassVar[str | None] = "Centrifugo"
    _block_type_slug: ClassVar[str | None] = "centrifugo"
    _logo_url: ClassVar[HttpUrl | None] = logo("radio-tower")
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
