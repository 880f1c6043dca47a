"""Find the predictions of a backtest that a later model made after their dates.

A training also predicts its own validation dates and is promoted by its scores on them. A backtest
on such dates does not show what predictions made at the time would have earned.
"""

from __future__ import annotations

from datetime import date

import polars as pl

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.repositories.versions import select_first_published
from prefect_instances.libs.services.composition.model_stores import version_number
from prefect_instances.libs.services.runs.run_context import Job, PinnedInput

MODEL_VERSION = "model_version"
"""Column of predictions with the version of the model that made them."""


def count_hindsight(job: Job) -> dict[str, float]:
    """Count the predictions that a backtest reads, and those dated before their model was made.

    Only inputs that are predictions themselves count; empty if there are none.
    """
    rows, late = 0, 0
    for item in job.inputs:
        if MODEL_VERSION in item.version.columns:
            made = _predictions(item)
            rows += made.height
            late += count_late_rows(made, _made_on(job, item))
    return {"predictions": float(rows), "predictions_in_hindsight": float(late)} if rows else {}


def count_late_rows(predictions: pl.DataFrame, made_on: dict[int, date]) -> int:
    """Count the predictions (date, model_version) dated before the day their model was made.

    ``made_on`` holds the day of each model version; a version without one counts as made in time.
    """
    versions = pl.DataFrame(
        {MODEL_VERSION: list(made_on), "made": list(made_on.values())},
        schema={MODEL_VERSION: pl.Int64, "made": pl.Date},
    )
    joined = predictions.join(versions, on=MODEL_VERSION, how="left")
    return joined.filter(pl.col("date") < pl.col("made")).height


def _predictions(item: PinnedInput) -> pl.DataFrame:
    return item.frame.select("date", pl.col(MODEL_VERSION).cast(pl.Int64)).collect()


def _made_on(job: Job, item: PinnedInput) -> dict[int, date]:
    """Read the day on which each model version of the input was first published."""
    with job.services.database.read() as session:
        found = select_first_published(session, item.instance_id, FlowKind.TRAINING)
    return {version_number(location): made.date() for location, made in found}
