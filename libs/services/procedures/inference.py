"""The procedure of inference: predictions of the pinned champion model."""

from __future__ import annotations

import json
import logging
from datetime import date
from typing import TYPE_CHECKING

from prefect_instances.libs.adapters.mlflow import CHAMPION, LoadedModel, Tracking
from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.core.status import Mode
from prefect_instances.libs.db.repositories.versions import select_generation_at
from prefect_instances.libs.services.composition.components import open_output, read_version
from prefect_instances.libs.services.composition.model_stores import (
    build_model_name,
    parse_version_number,
    tracking,
)
from prefect_instances.libs.services.procedures.features import (
    build_features,
    get_model_spec,
    list_features,
)
from prefect_instances.libs.services.procedures.panels import get_input
from prefect_instances.libs.services.procedures.training import EARLIER, open_module
from prefect_instances.libs.services.runs.run_context import Frame, Job, PinnedInput, Result

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

_log = logging.getLogger("instances.inference")


def infer(job: Job) -> Result:
    """Compute predictions (date, symbol, prediction, model_version).

    A model predicts only dates that it was not trained on. Earlier dates keep the predictions of
    the models before it; before these come those of the folds of a walk-forward training, each made
    by a model that was trained on data before its dates.
    """
    pinned, store = get_input(job, "model"), tracking(job.services)
    name = build_model_name(job.instance.project, job.instance.name, job.instance.id)
    meant = parse_version_number(pinned.version.location)
    version = meant if job.replay else _chosen(job, store, name, pinned)
    metrics: dict[str, object] = {"model_version": version}
    if version != meant:
        text = f"the alias {CHAMPION} was moved by hand to version {version}; pinned was {meant}"
        _log.warning("%s: %s", job.instance.label, text)
        metrics["warning"] = text
    loaded = store.load(name, version)
    begin = date.fromisoformat(loaded.tags["predict_from"])
    names = list_features(get_model_spec(job))
    if loaded.tags.get("features", json.dumps(names)) != json.dumps(names):
        raise DataRejected(
            "the champion was trained on other features; the next training fits the present ones"
        )
    rows = _from(build_features(job), begin)
    if not rows.height:
        raise DataRejected(f"no date from {begin} on has all of {len(names)} features")
    predicted = open_module(job).predict(loaded.model, rows.select(names).to_numpy())
    frame = _frame(rows, predicted, version)
    whole = _with_folds(_with_history(job, frame, begin), loaded, version)
    metrics |= {"predicted": frame.height, "predict_from": str(begin)}
    return Result(Frame(whole, open_output(job.services, job.instance.id, job.kind)), metrics)


def _chosen(job: Job, store: Tracking, name: str, pinned: PinnedInput) -> int:
    """Return the pinned version, or one to which a person moved the alias by hand."""
    meant = parse_version_number(pinned.version.location)
    alias = store.find_version_by_alias(name, CHAMPION)
    if alias == meant:
        return meant
    if alias is None or CHAMPION not in store.read_tags(name, meant):
        # The training publishes first, then moves the alias; it may be in between, or dead.
        store.promote(name, CHAMPION, meant)
        return meant
    location = f"models:/{name}/{alias}"
    with job.services.database.read() as session:
        generation = select_generation_at(session, pinned.version.flow_id, location)
    is_later = generation is not None and generation > pinned.version.generation
    return meant if is_later else alias


def _from(rows: pl.DataFrame, begin: date) -> pl.DataFrame:
    import polars as pl

    return rows.filter(pl.col("date") >= begin)


def _frame(rows: pl.DataFrame, predicted: NDArray[np.float64], version: int) -> pl.DataFrame:
    import polars as pl

    return rows.select("date", "symbol").with_columns(
        pl.Series("prediction", predicted, dtype=pl.Float64),
        pl.lit(version, dtype=pl.Int64).alias("model_version"),
    )


def _with_folds(frame: pl.DataFrame, loaded: LoadedModel, version: int) -> pl.DataFrame:
    """Add the predictions of the model's earlier folds, for the dates before all others."""
    import polars as pl

    if EARLIER not in loaded.files:
        return frame
    made = pl.read_parquet(loaded.files[EARLIER])
    earlier = made.filter(pl.col("date") < frame["date"].min())
    marked = earlier.with_columns(pl.lit(version, dtype=pl.Int64).alias("model_version"))
    return pl.concat([marked.select(frame.columns), frame])


def _with_history(job: Job, frame: pl.DataFrame, begin: date) -> pl.DataFrame:
    import polars as pl

    unchanged = job.flow.consumed_config_version == job.run.config_version
    if job.current is None or not unchanged or job.run.parameters.mode is Mode.FULL:
        return frame
    before = read_version(job.services, job.current.id).filter(pl.col("date") < begin).collect()
    return pl.concat([before.select(frame.columns), frame])
