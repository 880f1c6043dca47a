"""What changed between two frames of the data contract: rows added, removed and changed."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from prefect_instances.libs.definitions.content import conform, list_field_columns, list_key_columns

AFTER = " after"
"""Suffix of the later value of a field; no column of a dataset holds a blank."""


@dataclass(frozen=True)
class RowChanges:
    """How one frame became another, by key (date, symbol and, if both have it, knowledge_time).

    ``added`` and ``removed`` are whole rows that only the later or the earlier frame has.
    ``pairs`` holds the rows of both that differ: the keys, then each field that both frames have,
    and the same fields with the suffix ``AFTER``. ``columns_added`` and ``columns_removed`` are
    fields that only one frame has; ``retyped`` are fields whose type differs.
    """

    keys: tuple[str, ...]
    fields: tuple[str, ...]
    added: pl.DataFrame
    removed: pl.DataFrame
    pairs: pl.DataFrame
    columns_added: tuple[str, ...]
    columns_removed: tuple[str, ...]
    retyped: tuple[str, ...]

    @property
    def none(self) -> bool:
        """Return True if the frames are equal."""
        rows = self.added.height or self.removed.height or self.pairs.height
        return not (rows or self.columns_added or self.columns_removed or self.retyped)

    @property
    def changed(self) -> pl.DataFrame:
        """Return the keys of the changed rows and ``columns``, the names of what changed there."""
        names = [
            pl.when(differs(field)).then(pl.lit(field)).otherwise(None) for field in self.fields
        ]
        listed = pl.concat_list(names).list.drop_nulls() if names else pl.lit([])
        return self.pairs.select(*self.keys, columns=listed)

    @property
    def later_rows(self) -> pl.DataFrame:
        """Return the changed rows with their later values; fields that both frames have."""
        later = [pl.col(field + AFTER).alias(field) for field in self.fields]
        return self.pairs.select(*self.keys, *later)

    def count_by(self, key: str) -> pl.DataFrame:
        """Count the rows added, removed and changed for each value of ``date`` or ``symbol``."""
        parts = {"added": self.added, "removed": self.removed, "changed": self.pairs}
        marked = [
            frame.select(key, pl.lit(name).alias("what")).cast({"what": pl.String})
            for name, frame in parts.items()
        ]
        counts = [(pl.col("what") == name).sum().cast(pl.Int64).alias(name) for name in parts]
        return pl.concat(marked).group_by(key).agg(counts).sort(key)


def find_row_changes(before: pl.DataFrame, after: pl.DataFrame) -> RowChanges:
    """Find the rows and columns that differ between two frames (date x symbol, long).

    A null equals a null and a NaN a NaN. Numbers of different types are compared by value, other
    values whose types differ by their text.
    """
    before, after = conform(before), conform(after)
    keys = [key for key in list_key_columns(before.columns) if key in after.columns]
    old, new = list_field_columns(before.columns), list_field_columns(after.columns)
    both = [field for field in old if field in new]
    retyped = [field for field in both if before.schema[field] != after.schema[field]]
    texts = [name for name in retyped if not _are_numeric(before.schema[name], after.schema[name])]
    before, after = (each.cast(dict.fromkeys(texts, pl.String)) for each in (before, after))
    paired = before.select(*keys, *both).join(
        after.select(*keys, *(pl.col(field).alias(field + AFTER) for field in both)),
        on=keys,
        nulls_equal=True,
        maintain_order="left",
    )
    return RowChanges(
        keys=tuple(keys),
        fields=tuple(both),
        added=after.join(before, on=keys, how="anti", nulls_equal=True),
        removed=before.join(after, on=keys, how="anti", nulls_equal=True),
        pairs=paired.filter(pl.any_horizontal(pl.lit(False), *map(differs, both))),
        columns_added=tuple(field for field in new if field not in old),
        columns_removed=tuple(field for field in old if field not in new),
        retyped=tuple(retyped),
    )


def differs(field: str) -> pl.Expr:
    """Return the expression that is True where a field of ``RowChanges.pairs`` changed."""
    return pl.col(field).ne_missing(pl.col(field + AFTER))


def _are_numeric(*dtypes: pl.DataType) -> bool:
    return all(dtype.is_numeric() for dtype in dtypes)
