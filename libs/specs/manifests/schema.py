"""The JSON schema of a manifest, built from the spec models, for editors.

It accepts what the parser accepts: short keys, long keys, and a plain text where a component or a
reference allows it. Checks that need the whole manifest (cycles, schedules that never fire,
installed definitions) are left to ``instances apply --plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from prefect_instances.libs.specs.instances.instance import WRAPPER, InstanceFields
from prefect_instances.libs.specs.instances.registry import SPEC_TYPES
from prefect_instances.libs.specs.reading.base import SpecModel

DIALECT = "https://json-schema.org/draft/2020-12/schema"
TITLE = "Manifest of prefect-instances"
FILE_NAME = "manifest.schema.json"

_YES_NO = ["", "yes", "no"]


def manifest_schema() -> dict[str, Any]:
    """Build the schema of a manifest document, or of a document that is one instance."""
    models = [(model, "validation") for model in SPEC_TYPES.values()]
    _, schema = models_json_schema(models, ref_template="#/$defs/{model}")  # type: ignore[arg-type]
    definitions: dict[str, Any] = schema["$defs"]
    classes = {model.__name__: model for model in _subclasses(SpecModel)}
    for name, definition in definitions.items():
        definitions[name] = _widened(classes[name], definition)
    definitions["FlowSchedules"]["additionalProperties"] = {"$ref": "#/$defs/ScheduleSpec"}
    for tag, model in SPEC_TYPES.items():
        _tag(definitions[model.__name__], tag)
    return {
        "$schema": DIALECT,
        "title": TITLE,
        "$defs": {**definitions, "Instance": _instance(), "Manifest": _manifest()},
        "if": {"required": ["instances"]},
        "then": {"$ref": "#/$defs/Manifest"},
        "else": {"$ref": "#/$defs/Instance"},
    }


def _manifest() -> dict[str, Any]:
    return {
        "title": "Manifest",
        "description": "The instances of a project.",
        "type": "object",
        "required": ["instances"],
        "additionalProperties": False,
        "patternProperties": {"^x-": {"description": "Free; a place for YAML anchors."}},
        "properties": {
            "project": {
                "type": "string",
                "title": "Project",
                "description": "The project of the instances that name none.",
                "examples": ["demo"],
            },
            "instances": {
                "type": "array",
                "title": "Instances",
                "description": "In any order: they are applied in that of their lineage.",
                "items": {"$ref": "#/$defs/Instance"},
            },
        },
    }


def _instance() -> dict[str, Any]:
    """Select the schema by type, so that an editor reports the faults of the intended type."""
    branches = [
        {
            "if": {"properties": {"type": {"const": tag}}, "required": ["type"]},
            "then": {"$ref": f"#/$defs/{model.__name__}"},
        }
        for tag, model in SPEC_TYPES.items()
    ]
    kind = {"enum": list(SPEC_TYPES), "title": "Type", "description": "The type of instance."}
    return {
        "title": "Instance",
        "type": "object",
        "required": ["type"],
        "properties": {"type": kind},
        "allOf": branches,
    }


def _widened(model: type[SpecModel], definition: Mapping[str, Any]) -> dict[str, Any]:
    """Extend a model's schema by the other spellings that its parser accepts."""
    properties = {name: _truthy(part) for name, part in definition["properties"].items()}
    aliases = {
        long: {**properties[short], "description": f"The same as `{short}`."}
        for long, short in model.ALIASES.items()
        if short in properties
    }
    others = {
        key: {"description": "See docs: belongs to a part."}
        for key in model.other_keys()
        if key not in properties and key not in aliases
    }
    widened = {**definition, "properties": {**properties, **aliases, **others}}
    _require_somehow(model, widened)
    if not model.SHORTHAND:
        return widened
    text = {"type": "string", "description": f"Short for `{model.SHORTHAND}`."}
    title: dict[str, Any] = {
        key: widened[key] for key in ("title", "description") if key in widened
    }
    return {**title, "anyOf": [widened, text]}


def _require_somehow(model: type[SpecModel], schema: dict[str, Any]) -> None:
    """Require a field under any of its names."""
    needed = schema.pop("required", [])
    ways = {name: [name, *_spellings(model, name)] for name in needed}
    schema["required"] = [name for name, spelt in ways.items() if len(spelt) == 1]
    choices = [
        {"anyOf": [{"required": [key]} for key in spelt]}
        for spelt in ways.values()
        if len(spelt) > 1
    ]
    if choices:
        schema["allOf"] = choices


def _spellings(model: type[SpecModel], name: str) -> list[str]:
    """Return the other keys that set this field, or a part of it."""
    lifted: Mapping[str, tuple[str, str]] = getattr(model, "LIFTED", {})
    aliases = [long for long, short in model.ALIASES.items() if short == name]
    parts = [key for key, (part, _) in lifted.items() if part == name]
    wrapper = [WRAPPER] if issubclass(model, InstanceFields) else []
    return [*aliases, *parts, *wrapper]


def _truthy(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Accept booleans beside yes and no, because documents write ``triggers: false``."""
    if schema.get("enum") == _YES_NO:
        widened = {key: value for key, value in schema.items() if key != "type"}
        return {**widened, "enum": [*_YES_NO, True, False]}
    return dict(schema)


def _tag(definition: dict[str, Any], tag: str) -> None:
    properties = definition["properties"]
    properties["type"] = {**properties["type"], "const": tag}
    properties[WRAPPER] = {"type": "object", "description": "May contain any of the other keys."}
    definition["required"] = sorted({*definition.get("required", ()), "name", "type"})


def _subclasses(model: type[SpecModel]) -> Iterator[type[SpecModel]]:
    for child in model.__subclasses__():
        yield child
        yield from _subclasses(child)
