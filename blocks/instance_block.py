"""What the block classes of all types of instance have in common.

A block class takes its fields from a spec model; nothing is declared twice. The block is the form
and the saved document, the spec is the validated value that everything else works with.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, ClassVar, Self

from prefect.blocks.core import Block
from pydantic import HttpUrl, ValidationError

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.specs import InstanceSpec, parse_spec, problems_of, spec_document
from prefect_instances.libs.specs.reading.base import SpecModel
from prefect_instances.libs.specs.reading.problems import Fault

SLUG_KEY = "block_type_slug"
"""Prefect writes the slug of its type into every dumped block."""

VENDOR_KEYS = frozenset({SLUG_KEY, "_block_document_id", "_block_document_name", "_is_anonymous"})
"""Keys that Prefect adds to dumped blocks."""


TYPE = "type"
"""The field of a spec that a block class stands for."""


LOGOS = "https://cdn.jsdelivr.net/npm/lucide-static@0.468.0/icons"
"""Pictures under the ISC licence. Prefect wants an address on the web, for its own blocks too."""


def logo(name: str) -> HttpUrl:
    """The address of a picture that the page of a block type shows."""
    return HttpUrl(f"{LOGOS}/{name}.svg")


class InstanceBlock(Block, SpecModel):
    """Base of the block classes; a subclass names a spec model as its second base."""

    IGNORED: ClassVar[frozenset[str]] = VENDOR_KEYS

    @classmethod
    def tag(cls) -> str:
        """The ``type`` in the documents of this class, such as ``DatasetInstance``."""
        return str(cls.model_fields["type"].default)

    @classmethod
    def __dispatch_key__(cls) -> str:
        """The slug, as of any block; Prefect makes the schema twice to get at it, at the import."""
        return cls.get_block_type_slug()

    @classmethod
    def model_json_schema(cls, *args: Any, **options: Any) -> dict[str, Any]:
        """The form: fields in the order of the spec's schema, without the ``type``.

        The class tells the type already. Prefect's page sends what was filled in to be checked as
        if it were a schema itself, where a ``type`` has another meaning: it could not be saved.
        Prefect saves just the fields of this schema, and asks for it at each of them; all but the
        outermost mapping is one for all who ask, and they only read it.
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
        """The unsaved block of a spec of this type."""
        return cls.model_validate(spec_document(spec))

    def spec(self) -> InstanceSpec:
        """The spec that the block holds now; raises ``InvalidSpec`` if an edit made it faulty."""
        return parse_spec({**self.document(), "type": self.tag()})

    @classmethod
    def misdirected(cls, document: Mapping[Any, Any]) -> Fault | None:
        """A dump of another block class is no document of this one, whatever its keys."""
        slug = document.get(SLUG_KEY)
        if isinstance(slug, str) and slug and slug != cls.get_block_type_slug():
            return Fault((SLUG_KEY,), f"says {slug!r}, not {cls.get_block_type_slug()!r}")
        return super().misdirected(document)

    @classmethod
    def model_validate(cls, obj: Any, **options: Any) -> Self:
        """The block of a document; raises ``InvalidSpec`` with every problem.

        Prefect loads saved documents through this method, and would turn pydantic's own error into
        "failed to resolve block references", which tells the person who edited the block nothing.
        """
        try:
            return super().model_validate(obj, **options)
        except ValidationError as error:
            raise InvalidSpec(problems_of(error)) from None
