"""Find the predictions of a backtest that a later model made after their dates.

A training also predicts its own validation dates and is promoted by its scores on them. A backtest
on such dates does not show what predictions made at the time would have earned.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import date
from uuid import UUID

import polars as pl
from sqlalchemy.orm import Session

from prefect_instances.libs.core.status import FlowKind
from prefect_instances.libs.db.models import DatasetVersion, FlowExecutionResource
from prefect_instances.libs.db.repositories.versions import (
    select_first_published,
    select_output_versions,
    select_read_by,
)
from prefect_instances.libs.services.composition.components import open_version
from prefect_instances.libs.services.composition.model_stores import parse_version_number
from prefect_instances.libs.services.runs.run_context import Job

MODEL_VERSION = "model_version"
"""Column of predictions with the version of the model that made them."""


def count_hindsight(job: Job) -> dict[str, float]:
    """Count the predictions behind a backtest, and those dated before their model was made.

    Predictions may be an input themselves, or what an optimizer or a signal was computed from;
    empty if there are none.
    """
    services = job.services
    rows, late = 0, 0
    with services.database.read() as session:
        for version in _find_predictions(session, [item.version.id for item in job.inputs]):
            frame = open_version(services, session, version).as_known()
            made = frame.select("date", pl.col(MODEL_VERSION).cast(pl.Int64)).collect()
            rows += made.height
            late += count_late_rows(made, _made_on(session, version))
    return {"predictions": float(rows), "predictions_in_hindsight": float(late)} if rows else {}


def _find_predictions(session: Session, version_ids: Collection[UUID]) -> list[DatasetVersion]:
    """Return the nearest predictions on each path: these versions, or upstream of them."""
    found: list[DatasetVersion] = []
    seen: set[UUID] = set()
    ahead = set(version_ids)
    while ahead:
        versions = select_output_versions(session, ahead)
        found += [version for version in versions if MODEL_VERSION in version.columns]
        seen |= ahead
        others = {version.id for version in versions if MODEL_VERSION not in version.columns}
        ahead = select_read_by(session, others) - seen
    return found


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


def _made_on(session: Session, predictions: DatasetVersion) -> dict[int, date]:
    """Read the day on which each model version behind predictions was first published."""
    flow = session.get_one(FlowExecutionResource, predictions.flow_id)
    found = select_first_published(session, flow.instance_id, FlowKind.TRAINING)
    return {parse_version_number(location): made.date() for location, made in found}
