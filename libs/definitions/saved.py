"""Macros saved in a database: an expression with arguments, without code."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from functools import cache
from typing import Any, cast

from prefect_instances.libs.definitions.op import Argument, OpMacro


class SavedMacro(OpMacro):
    """Base of the classes that ``saved_macro`` creates."""

    @classmethod
    def document(cls) -> dict[str, Any]:
        """Return its JSON-serialisable document, from which ``saved_macro`` recreates it."""
        return {
            "name": cls.name,
            "version": cls.version,
            "description": cls.__doc__,
            "expression": cls.expression,
            # As pairs: a database may not preserve the order of keys.
            "arguments": [[name, kind.value] for name, kind in cls.arguments.items()],
            "defaults": [*cls.defaults],
        }

    @classmethod
    def computes(cls) -> dict[str, Any]:
        """Return the document without name, version and description: what determines its value."""
        said = cls.document()
        return {key: said[key] for key in ("expression", "arguments", "defaults")}

    @classmethod
    def content_hash(cls) -> str:
        """Return the SHA-256 of everything that determines its value."""
        return hashlib.sha256(json.dumps(cls.computes(), sort_keys=True).encode()).hexdigest()

    @classmethod
    def describe(cls) -> dict[str, Any]:
        """Extend the base description with the document."""
        return {**super().describe(), "saved": cls.document()}


def saved_macro(document: Mapping[str, Any]) -> type[SavedMacro]:
    """Return the macro of a document; equal documents give the same class."""
    return _made(json.dumps(dict(document), sort_keys=True))


@cache
def _made(text: str) -> type[SavedMacro]:
    said = json.loads(text)
    attributes = {
        "__doc__": said["description"],
        "__module__": __name__,
        "name": said["name"],
        "version": said["version"],
        "expression": said["expression"],
        "arguments": {name: Argument(kind) for name, kind in said["arguments"]},
        "defaults": tuple(said["defaults"]),
    }
    return cast("type[SavedMacro]", type(said["name"], (SavedMacro,), attributes))
