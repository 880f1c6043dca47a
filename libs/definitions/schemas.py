"""Comparison of the columns that one definition needs with those that another delivers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

Schema = Mapping[str, str]
"""Columns and their polars types; a bare ``Datetime`` matches every unit and zone."""


def misfits(needed: Schema, delivered: Schema) -> Iterable[str]:
    """Describe each column of ``needed`` that ``delivered`` lacks or has with another type."""
    for column, type_ in needed.items():
        found = delivered.get(column)
        if found is None:
            yield f"needs a column {column!r} ({type_})"
        elif not _same(type_, found):
            yield f"needs column {column!r} as {type_}, not {found}"


def _same(one: str, other: str) -> bool:
    plain = "(" not in one or "(" not in other
    return one.split("(")[0] == other.split("(")[0] if plain else one == other
