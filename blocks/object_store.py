"""The block type "Object store": where stores and file pipelines keep and find data."""

from __future__ import annotations

from typing import ClassVar

from prefect_instances.blocks.pictured_block import PicturedBlock
from prefect_instances.libs.plugins.object_blocks import SLUG, ObjectStoreAccess


class ObjectStore(PicturedBlock, ObjectStoreAccess):
    """Endpoint and key of an object store (S3, Azure, Google); see docs/object-stores.md."""

    _block_type_name: ClassVar[str | None] = "Object store"
    _block_type_slug: ClassVar[str | None] = SLUG
    PICTURE: ClassVar[str] = "database"
    _description: ClassVar[str | None] = (
        "Endpoint and key of an object store. Name it in INSTANCES_STORE_BLOCK, in a store's "
        "object_store, or in that of a file pipeline."
    )
    _code_example: ClassVar[str | None] = """\
        ```python
        from prefect_instances.blocks import ObjectStore

        ObjectStore(region="eu-west-1", key="...", secret="...").save("prices")
        ```"""
