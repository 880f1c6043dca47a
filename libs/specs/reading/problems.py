"""Conversion of validation errors to sentences for people, each with its path.

A ``Fault`` is relative to the model that found it; a ``Problem`` is relative to the document.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from pydantic import ValidationError
from pydantic_core import ErrorDetails, InitErrorDetails, PydanticCustomError

from prefect_instances.libs.core.errors import Problem

Loc = tuple[int | str, ...]
"""The keys and indices that lead to a value: ``("upstream_refs", 1, "role")``."""

SPEC_FAULT = "spec_fault"
"""Type of pydantic errors whose message is already worded for people."""

_PLAIN_KEY = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*\Z")


class Fault(NamedTuple):
    """One fault at ``loc`` within the value that is being validated."""

    loc: Loc
    message: str


def path_of(loc: Iterable[int | str]) -> str:
    """Join keys and indices to a path such as ``instances[1].schedule.timezone``."""
    path = ""
    for step in loc:
        if isinstance(step, int):
            path += f"[{step}]"
        elif not _PLAIN_KEY.match(step):
            path += f"[{step!r}]"
        else:
            path += f".{step}" if path else step
    return path


def problems_of(error: ValidationError, path: str = "") -> list[Problem]:
    """Convert every fault in a pydantic error to a problem below ``path``."""
    return [Problem(path_of(loc), message).under(path) for loc, message in faults_of(error)]


def faults_of(error: ValidationError) -> list[Fault]:
    """List every fault in a pydantic error, worded for the person who wrote the document."""
    details = error.errors(include_url=False)
    return [Fault(tuple(detail["loc"]), message_of(detail)) for detail in details]


def validation_error(title: str, faults: Iterable[Fault]) -> ValidationError:
    """Build the pydantic error that holds these faults, for a validator to raise.

    It holds no input values: a person may have typed a credential into the wrong field.
    """
    lines = [
        InitErrorDetails(
            type=PydanticCustomError(SPEC_FAULT, fault.message),
            loc=fault.loc,
            input=None,
        )
        for fault in faults
    ]
    return ValidationError.from_exception_data(title, lines, hide_input=True)


def message_of(detail: ErrorDetails) -> str:
    """Word one pydantic error as a sentence; our own messages stay unchanged."""
    kind, context, given = detail["type"], detail.get("ctx", {}), detail["input"]
    if kind in (SPEC_FAULT, "value_error"):
        return str(context.get("error", detail["msg"]))
    if kind == "missing":
        return "is missing"
    if kind == "literal_error":
        return _choice_message(given, context)
    if kind in _BOUNDS:
        return f"must be {_BOUNDS[kind]} {next(iter(context.values()))}"
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}, not {kind_of(given)}{_quote_hint(kind, given)}"
    return detail["msg"][:1].lower() + detail["msg"][1:]


def kind_of(value: object) -> str:
    """Name the type of a value as YAML users do, without the value itself."""
    if value is None:
        return "empty"
    for type_, words in _KINDS:
        if isinstance(value, type_):
            return words
    return f"a {type(value).__name__}"


def did_you_mean(wrong: object, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'schedule'?"`` for a similar known word; empty without one."""
    words = list(known)
    folded = {word.casefold(): word for word in reversed(words)}
    text = str(wrong).casefold()
    near = difflib.get_close_matches(text, folded, n=1, cutoff=0.6)
    near = near or [word for word in folded if text and word.startswith(text)][:1]
    return f"; did you mean {folded[near[0]]!r}?" if near else ""


def unknown_key(key: str, where: str, fields: Iterable[str], aliases: Iterable[str] = ()) -> str:
    """Build the message for an unknown key; it lists the fields if no known key is similar."""
    names = list(fields)
    hint = did_you_mean(key, [*names, *aliases]) or f"; it has {', '.join(names)}"
    return f"is not a field of {where}{hint}"


def _choice_message(value: object, context: Mapping[str, Any]) -> str:
    choices = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    listed = ", ".join(choice if choice else "empty" for choice in choices)
    shown = repr(value) if isinstance(value, str) and len(value) <= 60 else kind_of(value)
    start = f"must be {listed}" if len(choices) == 1 else f"must be one of {listed}"
    hint = did_you_mean(value, choices) if isinstance(value, str) else ""
    return f"{start}, not {shown}{hint}"


def _quote_hint(kind: str, value: object) -> str:
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return "; put it in quotes" if kind == "string_type" and plain else ""


_BOUNDS = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "more than",
    "less_than": "less than",
}

_EXPECTED = {
    "string_type": "text",
    "string_unicode": "text in valid Unicode",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number of reasonable size",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "model_attributes_type": "a mapping of keys to values",
    "list_type": "a list",
}

_KINDS: tuple[tuple[type | tuple[type, ...], str], ...] = (
    (bool, "true or false"),
    ((int, float), "a number"),
    (str, "text"),
    (Mapping, "a mapping"),
    ((list, tuple, set, frozenset), "a list"),
)
