"""JSON values: the only values that a configuration may hold."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import date, datetime, time
from enum import Enum
from typing import Annotated, Any
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator

from prefect_instances.libs.specs.reading.problems import Fault, Loc, kind_of, validation_error

MAX_DEPTH = 40
"""Deeper nesting is refused: it would exhaust the stack of recursive code."""

MAX_VALUES = 200_000
"""More values in one configuration are refused: data belong in a file, not in a spec."""


def plain(value: Any, loc: Loc = ()) -> tuple[Any, list[Fault]]:
    """Convert ``value`` to JSON data (dates, uuids to text, tuples to lists); list all faults."""
    walk = _Walk()
    return walk.visit(value, loc), walk.faults


class _Walk:
    """One traversal of a value; ``open_ids`` are the containers that enclose the current one."""

    def __init__(self) -> None:
        self.faults: list[Fault] = []
        self.open_ids: set[int] = set()
        self.count = 0

    def visit(self, value: Any, loc: Loc) -> Any:
        self.count += 1
        if self.count > MAX_VALUES:
            if self.count == MAX_VALUES + 1:
                self._blame(loc[:1], f"contains more than {MAX_VALUES} values")
            return None
        if isinstance(value, Mapping):
            return self._within(value, loc, self._mapping)
        if isinstance(value, list | tuple):
            return self._within(value, loc, self._list)
        return self._scalar(value, loc)

    def _within(self, value: Any, loc: Loc, visit: Any) -> Any:
        if id(value) in self.open_ids:
            return self._blame(loc, "contains itself")
        if len(self.open_ids) >= MAX_DEPTH:
            return self._blame(loc, f"is nested more than {MAX_DEPTH} levels deep")
        self.open_ids.add(id(value))
        try:
            return visit(value, loc)
        finally:
            self.open_ids.discard(id(value))

    def _mapping(self, value: Mapping[Any, Any], loc: Loc) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, item in value.items():
            if not isinstance(key, str):
                self._blame((*loc, str(key)), "has a key that is not text; put it in quotes")
                continue
            if fault := text_fault(key):
                self._blame(loc, f"has a key that {fault}")
                continue
            result[str(key)] = self.visit(item, (*loc, key))
        return result

    def _list(self, value: list[Any] | tuple[Any, ...], loc: Loc) -> list[Any]:
        return [self.visit(item, (*loc, index)) for index, item in enumerate(value)]

    def _scalar(self, value: Any, loc: Loc) -> Any:
        if isinstance(value, Enum):
            value = value.value
        if isinstance(value, str):
            fault = text_fault(value)
            return self._blame(loc, fault) if fault else str(value)
        if value is None or isinstance(value, bool | int):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else self._blame(loc, "must be a finite number")
        if isinstance(value, datetime | date | time):
            return value.isoformat()
        if isinstance(value, UUID):
            return str(value)
        return self._blame(loc, f"cannot be written as JSON: it is {kind_of(value)}")

    def _blame(self, loc: Loc, message: str) -> None:
        self.faults.append(Fault(loc, message))


def text_fault(text: str) -> str:
    """Return why a text cannot be stored in databases and JSON; empty if it can."""
    if "\x00" in text:
        return "contains a NUL character"
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return "must be text in valid Unicode"
    return ""


def _checked_mapping(value: Any) -> Any:
    if not isinstance(value, Mapping):
        return value
    result, faults = plain(value)
    if faults:
        raise validation_error("config", faults)
    return result


def _checked_text(value: str) -> str:
    if fault := text_fault(value):
        raise ValueError(fault)
    return value


def _not_a_bool(value: Any) -> Any:
    """Refuse booleans as numbers: pydantic reads ``true`` as 1, which would hide a mistake."""
    if isinstance(value, bool):
        raise ValueError("must be a number, not true or false")
    return value


def _uuid_as_text(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


Config = Annotated[dict[str, Any], BeforeValidator(_checked_mapping)]
"""Configuration without a fixed model: a mapping of JSON data."""

Text = Annotated[str, BeforeValidator(_uuid_as_text), AfterValidator(_checked_text)]
"""Text that every database can hold; a uuid counts as its text."""

Whole = Annotated[int, BeforeValidator(_not_a_bool)]
"""A whole number, not a boolean."""

Number = Annotated[float, BeforeValidator(_not_a_bool)]
"""A number, not a boolean."""
