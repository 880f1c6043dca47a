"""What differs between two frames: rows by key, columns, types."""

from __future__ import annotations

from datetime import date
from typing import Any

import polars as pl

from prefect_instances.libs.definitions.row_changes import AFTER, find_row_changes

MON, TUE = date(2024, 1, 1), date(2024, 1, 2)


def frame(*rows: tuple[Any, ...], columns: str = "close volume") -> pl.DataFrame:
    return pl.DataFrame(rows, schema=["date", "symbol", *columns.split()], orient="row")


def test_rows_are_added_removed_and_changed_by_key() -> None:
    before = frame((MON, "A", 1.0, 10), (MON, "B", 2.0, 20), (TUE, "A", 3.0, 30))
    after = frame((TUE, "A", 3.5, 30), (MON, "A", 1.0, 11), (TUE, "C", 4.0, 40))

    found = find_row_changes(before, after)

    assert found.added.rows() == [(TUE, "C", 4.0, 40)]
    assert found.removed.rows() == [(MON, "B", 2.0, 20)]
    assert found.changed.rows() == [(MON, "A", ["volume"]), (TUE, "A", ["close"])]
    assert found.pairs["close" + AFTER].to_list() == [1.0, 3.5]
    assert found.count_by("date").rows() == [(MON, 0, 1, 1), (TUE, 1, 0, 1)]
    assert found.count_by("symbol").rows() == [("A", 0, 0, 2), ("B", 0, 1, 0), ("C", 1, 0, 0)]
    assert not found.none


def test_nulls_and_nans_equal_themselves_and_differ_from_each_other() -> None:
    same = frame((MON, "A", float("nan"), None), (MON, "B", None, 1))
    assert find_row_changes(same, same).none

    other = frame((MON, "A", None, None), (MON, "B", None, 1))
    assert find_row_changes(same, other).changed.rows() == [(MON, "A", ["close"])]


def test_columns_come_go_and_change_their_type() -> None:
    before = frame((MON, "A", 1.0, 10))
    after = frame((MON, "A", 10.0, "x"), columns="volume note")

    found = find_row_changes(before, after)

    assert (found.columns_added, found.columns_removed) == (("note",), ("close",))
    assert found.retyped == ("volume",)
    assert found.pairs.height == 0


def test_without_a_common_field_no_row_changes() -> None:
    found = find_row_changes(frame((MON, "A", 1), columns="a"), frame((MON, "A", 1), columns="b"))

    assert found.changed.height == 0
    assert found.columns_added == ("b",)


def test_values_of_types_that_cannot_be_compared_are_compared_by_their_text() -> None:
    found = find_row_changes(
        frame((MON, "A", "1"), (TUE, "A", "x"), columns="a"),
        frame((MON, "A", 1), (TUE, "A", 2), columns="a"),
    )

    assert found.retyped == ("a",)
    assert found.changed.rows() == [(TUE, "A", ["a"])]
