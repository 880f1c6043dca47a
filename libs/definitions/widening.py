"""Widening of column types: changes of type that preserve every value."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

EXACT_FLOAT = 2**53
"""Floats represent every whole number up to this size exactly."""


def widen(frame: pl.DataFrame, stored: Mapping[str, pl.DataType]) -> pl.DataFrame:
    """Return ``frame`` cast to the ``stored`` types wherever that changes no value.

    A column without any value takes the stored type; whole numbers become the stored floats, and
    smaller number types the larger stored type of their kind. A column of the same name with any
    other type stays as it is.
    """
    casts = {}
    for column in frame.iter_columns():
        wanted = stored.get(column.name, column.dtype)
        if column.dtype != wanted and _fits(column, wanted):
            casts[column.name] = wanted
    return frame.cast(casts) if casts else frame  # type: ignore[arg-type]  # stubs: invariant key


def is_wider(new: pl.DataType, old: pl.DataType) -> bool:
    """Return True if type ``new`` can hold every number of type ``old``."""
    if old.is_signed_integer() and new.is_signed_integer():
        return _INTEGERS.index(old) <= _INTEGERS.index(new)
    if old == pl.Float32():
        return new == pl.Float64()
    return old.is_integer() and new == pl.Float64()


_INTEGERS: list[pl.DataType] = [pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64()]


def _fits(column: pl.Series, wanted: pl.DataType) -> bool:
    if column.null_count() == column.len():
        return True
    if not is_wider(wanted, column.dtype):
        return False
    if not column.dtype.is_integer() or wanted.is_integer():
        return True
    return bool(column.is_between(-EXACT_FLOAT, EXACT_FLOAT).all())
