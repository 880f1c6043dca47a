"""Check that a new version does not lose too much data of the previous one."""

from __future__ import annotations

from collections.abc import Iterator

import polars as pl

from prefect_instances.libs.definitions.content import KEYS, SAMPLE
from prefect_instances.libs.definitions.widening import is_wider


def find_losses(before: pl.DataFrame, after: pl.DataFrame, max_loss: float) -> list[str]:
    """List what a new version lost of the previous one beyond a share ``max_loss``.

    Dates, symbols, rows by their (date, symbol), and the values of each column are counted
    separately. A column that is missing, or has another type that is not wider, is always listed.
    """
    found = [*_column_losses(before, after, max_loss)]
    if all(before.schema[key] == after.schema.get(key) for key in KEYS):
        found += _row_losses(before, after, max_loss)
    return found


def _column_losses(before: pl.DataFrame, after: pl.DataFrame, max_loss: float) -> Iterator[str]:
    present = {column.name: column for column in after.iter_columns()}
    gone = [name for name in before.columns if name not in present]
    if gone:
        more = f" and {len(gone) - SAMPLE} more" if len(gone) > SAMPLE else ""
        yield f"column {', '.join(gone[:SAMPLE])}{more}"
    for old in before.iter_columns():
        new = present.get(old.name)
        if new is None:
            continue
        if new.dtype != old.dtype and not is_wider(new.dtype, old.dtype):
            yield f"column {old.name!r} was {old.dtype} and is {new.dtype}"
        elif old.name not in KEYS and _is_lost(old.count() - new.count(), old.count(), max_loss):
            yield f"{old.count() - new.count()} of {old.count()} values of {old.name!r}"


def _row_losses(before: pl.DataFrame, after: pl.DataFrame, max_loss: float) -> Iterator[str]:
    """Yield lost dates, symbols and rows; rows only if no date or symbol explains them."""
    told = False
    for key, label in (("date", "dates"), ("symbol", "symbols")):
        old = before[key].unique()
        gone = old.filter(~old.is_in(after[key].unique().implode())).sort()
        if _is_lost(gone.len(), old.len(), max_loss):
            told = True
            few = ", ".join(str(value) for value in gone.head(SAMPLE))
            yield f"{gone.len()} of {old.len()} {label} ({few}{', …' * (gone.len() > SAMPLE)})"
    old_rows = before.select(KEYS).unique()
    lost = old_rows.join(after.select(KEYS), on=KEYS, how="anti")
    if not told and _is_lost(lost.height, old_rows.height, max_loss):
        first = lost.sort(KEYS).row(0)
        yield f"{lost.height} of {old_rows.height} rows, such as {first[0]} {first[1]}"


def _is_lost(gone: int, there: int, max_loss: float) -> bool:
    return gone > max_loss * there
