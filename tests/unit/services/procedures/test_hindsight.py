"""Predictions that were made after their dates are counted."""

from __future__ import annotations

from datetime import date

import polars as pl

from prefect_instances.libs.services.procedures.hindsight import count_late_rows


def test_predictions_dated_before_their_model_are_in_hindsight() -> None:
    rows = pl.DataFrame(
        {
            "date": [date(2024, 1, 1), date(2024, 1, 2), date(2024, 1, 2), date(2024, 1, 3)],
            "model_version": [1, 1, 2, 3],
        }
    )
    made = {1: date(2024, 1, 2), 2: date(2024, 1, 9)}

    # Version 1 saw the 1st before it was there, version 2 the 2nd; of version 3 nothing is known.
    assert count_late_rows(rows, made) == 2
    assert count_late_rows(rows, {}) == 0
