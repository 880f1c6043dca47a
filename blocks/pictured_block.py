"""Base of block classes whose type has a picture on its page in Prefect."""

from __future__ import annotations

from typing import ClassVar

from prefect.blocks.core import Block
from prefect.client.schemas.objects import BlockType

from prefect_instances.libs.adapters.prefect.pictures import address_picture


class PicturedBlock(Block):
    """A block class that names the picture of its type."""

    PICTURE: ClassVar[str]
    """Name of a file in ``libs/adapters/prefect/pictures``, without ``.svg``."""

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Return the slug, as Prefect does, without making the type and its schema for it."""
        return cls.get_block_type_slug()

    @classmethod
    def _to_block_type(cls) -> BlockType:
        """Return the type as it is registered; the address depends on the server."""
        block_type: BlockType = super()._to_block_type()
        return block_type.model_copy(update={"logo_url": address_picture(cls.PICTURE)})
