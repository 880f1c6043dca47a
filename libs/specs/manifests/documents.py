"""Conversion between specs and documents: JSON-able mappings from people, forms and files."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from prefect_instances.libs.core.errors import InvalidSpec, Problem
from prefect_instances.libs.core.status import InstanceType
from prefect_instances.libs.specs.instances.instance import (
    WRAPPER,
    DatasetSpec,
    InstanceFields,
    SignalSpec,
)
from prefect_instances.libs.specs.instances.registry import SPEC_TYPES, InstanceSpec
from prefect_instances.libs.specs.reading.problems import did_you_mean, kind_of, problems_of


def parse_spec(document: Mapping[str, Any], path: str = "") -> InstanceSpec:
    """Convert a document to the spec of its ``type``.

    Raises ``InvalidSpec`` with every problem of the document, each below ``path``.
    """
    spec, problems = read_spec(document, path)
    if spec is None or problems:
        raise InvalidSpec(problems)
    return spec


def read_spec(document: object, path: str = "") -> tuple[InstanceSpec | None, list[Problem]]:
    """Convert a document as ``parse_spec`` does, but return its problems instead of raising."""
    if not isinstance(document, Mapping):
        message = f"must be a mapping of keys to values, not {kind_of(document)}"
        return None, [Problem("", message).under(path)]
    model, problems = _model_for(document, path)
    if model is None:
        return None, problems
    if problems:
        document = _retyped(document, model)
    try:
        return model.model_validate(document), problems
    except ValidationError as error:
        return None, problems + problems_of(error, path)


def salvage_spec(document: object) -> InstanceSpec | None:
    """Convert the valid part of a faulty document, so that it can be checked further.

    Every top-level key that has a fault is left out; None if too little remains.
    """
    if not isinstance(document, Mapping):
        return None
    _, problems = read_spec(document)
    faulty = {re.split(r"[.\[]", problem.path, maxsplit=1)[0] for problem in problems}
    model = _model_for(document, "")[0] or DatasetSpec
    kept = {key: value for key, value in document.items() if key not in faulty}
    try:
        return model.model_validate(
            {"name": "unnamed", **kept, "type": model.instance_type().value}
        )
    except ValidationError:
        return None


def _model_for(
    document: Mapping[str, Any], path: str
) -> tuple[type[InstanceFields] | None, list[Problem]]:
    """Return the model of the document's type; for a wrong type, the most likely model."""
    wrapped = document.get(WRAPPER)
    inner = wrapped if isinstance(wrapped, Mapping) else {}
    type_ = document.get("type", inner.get("type"))
    known = ", ".join(SPEC_TYPES)
    if type_ is None:
        model = SignalSpec if "signal" in document or "signal" in inner else DatasetSpec
        return model, [Problem("type", f"is missing: write one of {known}").under(path)]
    if isinstance(type_, str) and type_ in SPEC_TYPES:
        return SPEC_TYPES[type_], []
    shown = repr(type_[:60]) if isinstance(type_, str) else kind_of(type_)
    guess = isinstance(type_, str) and type_ not in frozenset(InstanceType)
    hint = did_you_mean(type_, SPEC_TYPES) if guess else ""
    problem = Problem("type", f"must be one of {known}, not {shown}{hint}").under(path)
    meant = [model for name, model in SPEC_TYPES.items() if repr(name) in hint]
    return (meant[0] if meant else None), [problem]


def _retyped(document: Mapping[str, Any], model: type[InstanceFields]) -> dict[str, Any]:
    """Return the document with the model's type, to find its other faults."""
    result = {**document, "type": model.instance_type().value}
    wrapped = result.get(WRAPPER)
    if isinstance(wrapped, Mapping):
        result[WRAPPER] = {key: value for key, value in wrapped.items() if key != "type"}
    return result


def spec_document(spec: InstanceSpec) -> dict[str, Any]:
    """Convert a spec to JSON data without defaults; ``parse_spec`` gives back an equal spec."""
    rest = spec.document()
    rest.pop("type", None)
    return {"name": rest.pop("name"), "type": spec.type, **rest}


def output_fingerprint(spec: InstanceSpec) -> str:
    """Hash everything that affects the output; specs that give the same data have equal hashes.

    SHA-256, hexadecimal. It covers the components, the upstreams (which, in which role and order,
    but not when they trigger) and the contract of a signal; not name, description, schedule or
    ``run_on_provision``.
    """
    return _fingerprint(spec.output_content())


def flow_fingerprint(spec: InstanceSpec, kind: str) -> str:
    """Hash everything that affects one flow's output, as ``output_fingerprint`` does."""
    return _fingerprint(spec.flow_content(kind))


def _fingerprint(content: Mapping[str, Any]) -> str:
    text = json.dumps(_settled(content), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()


def _settled(value: Any) -> Any:
    """Normalise numbers: a form saves 1.0 as 1, which must not look like a change."""
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, dict):
        return {key: _settled(item) for key, item in value.items()}
    return [_settled(item) for item in value] if isinstance(value, list) else value
