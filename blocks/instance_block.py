"""Base of the block classes of all types of instance.

A block class takes its fields from a spec model; nothing is declared twice. The block is the form
and the saved document, the spec is the validated value that all other code uses.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

from pydantic import ValidationError

from prefect_instances.blocks.pictured_block import PicturedBlock
from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import InstanceSpec, parse_spec, problems_of, spec_document
from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.problems import Fault

SLUG_KEY = "block_type_slug"
"""Key under which Prefect writes the slug of its type into every dumped block."""

VENDOR_KEYS = frozenset({SLUG_KEY, "_block_document_id", "_block_document_name", "_is_anonymous"})
"""Keys that Prefect adds to dumped blocks."""


TYPE = "type"
"""The field of a spec that the block class determines."""


class InstanceBlock(PicturedBlock, SpecModel):
    """Base of the block classes; a subclass names a spec model as its second base."""

    IGNORED: ClassVar[frozenset[str]] = VENDOR_KEYS

    @classmethod
    def tag(cls) -> str:
        """Return the ``type`` in the documents of this class, such as ``DatasetInstance``."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """Return the schema of the form: fields in the order of the spec, without the ``type``.

        The class already determines the type. Prefect's page sends the form's values to a
        validation that treats them as a schema, where ``type`` has another meaning: the form could
        not be saved. Prefect saves only the fields of this schema, and calls this method for each
        of them; all callers share the nested mappings and only read them.
        """
        return dict(cls._form(*args, **options))

    @classmethod
    @cache
    def _form(cls, *args: Any, **options: Any) -> dict[str, Any]:
        schema = super().model_json_schema(*args, **options)
        properties = schema["properties"]
        properties.pop(TYPE, None)
        for position, field in enumerate(properties.values()):
            field["position"] = position
        return schema

    @classmethod
    def from_spec(cls, spec: InstanceSpec) -> Self:
        """Return an unsaved block of a spec of this type."""
        return cls.model_validate(spec_document(spec))

    def spec(self) -> InstanceSpec:
        """Return the block's current spec; raise ``InvalidSpec`` if an edit made it invalid."""
        return parse_spec({**self.document(), "type": self.tag()})

    @classmethod
    def misdirected(cls, document: Mapping[Any, Any]) -> Fault | None:
        """Return a fault if the document is a dump of another block class, whatever its keys."""
        slug = document.get(SLUG_KEY)
        if isinstance(slug, str) and slug and slug != cls.get_block_type_slug():
            return Fault((SLUG_KEY,), f"says {slug!r}, not {cls.get_block_type_slug()!r}")
        return super().misdirected(document)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """Return the block of a document; raise ``InvalidSpec`` with every problem.

        Prefect loads saved documents through this method, and would turn pydantic's own error into
        "failed to resolve block references", which does not help the person who edited the block.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise InvalidSpec(problems_of(error)) from None
