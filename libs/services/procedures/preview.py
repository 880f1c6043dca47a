"""The procedure of experiments: evaluate an expression and measure its predictive value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.pipeline import ExtractContext, Pipeline
from prefect_instances.libs.quant.statistics import distribution, information_coefficients, mean_of
from prefect_instances.libs.services.composition.components import open_output
from prefect_instances.libs.services.procedures.panels import (
    Panel,
    build_panel,
    read_panel,
    take_bars,
)
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.plots import plot_bars, plot_histogram
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import ExperimentSpec

SHOWN_ROWS = 20

Coefficients = Mapping[int, NDArray[np.float64]]


def preview(job: Job) -> Result:
    """Evaluate the expression (date x symbol); report its statistics as metrics and pages."""
    spec = job.spec
    assert isinstance(spec, ExperimentSpec)
    rows = _looked_at(_evaluated(job), spec)
    if not rows.height:
        raise DataRejected("the expression has no value on these dates for these symbols")
    values = build_panel(rows.sort("date", "symbol"), "value")
    coefficients = _coefficients(job, spec, values)
    metrics = _metrics(values, coefficients)
    pages = [Page("statistics", "markdown", _page(job, rows, values, coefficients, metrics))]
    store = open_output(job.services, job.instance.id, job.kind)
    return Result(Frame(rows, store), metrics, pages)


def _evaluated(job: Job) -> pl.DataFrame:
    pipeline = job.opened.components["pipeline"]
    assert isinstance(pipeline, Pipeline)
    context = ExtractContext(job.instance.name, job.run.started_at, job.run.parameters.as_of)
    inputs = [item.as_input() for item in job.inputs]
    return pipeline.extract(context, inputs, None).frame


def _expression_of(job: Job) -> str:
    """Return the expression that the pipeline evaluates, for a definition its call."""
    return str(getattr(job.opened.components["pipeline"].config, "expression", ""))


def _looked_at(frame: pl.DataFrame, spec: ExperimentSpec) -> pl.DataFrame:
    if spec.date_range.start:
        frame = frame.filter(pl.col("date") >= date.fromisoformat(spec.date_range.start))
    if spec.date_range.end:
        frame = frame.filter(pl.col("date") <= date.fromisoformat(spec.date_range.end))
    if spec.universe:
        frame = frame.filter(pl.col("symbol").is_in(spec.universe))
    return frame


def _coefficients(job: Job, spec: ExperimentSpec, values: Panel) -> Coefficients:
    """Compute the information coefficients; empty if no upstream has the price column."""
    for item in job.inputs:
        if spec.price_column in item.version.columns:
            prices = read_panel(item, spec.price_column)
            break
    else:
        return {}
    return compute_coefficients(values, prices, spec.horizons, spec.calendar)


def compute_coefficients(
    values: Panel, prices: Panel, horizons: Sequence[int], calendar: str = ""
) -> Coefficients:
    """Compute the rank correlation of each bar's values with the returns that follow, by horizon.

    A horizon counts the bars of the symbols that have values: the dates on which one of them has a
    usable price, or the sessions of the ``calendar``. Other symbols of ``prices`` are ignored.
    """
    bars = take_bars(prices, values.symbols, calendar)
    return information_coefficients(values.on(bars.dates).values, bars.values, horizons)


def _metrics(values: Panel, coefficients: Coefficients) -> dict[str, object]:
    found: dict[str, object] = {**distribution(values.values), "symbols": len(values.symbols)}
    for horizon, series in coefficients.items():
        mean = mean_of(series)
        if math.isfinite(mean):
            found[f"ic_{horizon}"] = mean
    return found


def _page(
    job: Job,
    rows: pl.DataFrame,
    values: Panel,
    coefficients: Coefficients,
    metrics: Mapping[str, Any],
) -> str:
    lines = [
        f"## {job.instance.label}",
        "",
        f"`{_expression_of(job)}`",
        "",
        f"{values.dates[0]} to {values.dates[-1]}, {len(values.symbols)} symbols",
        "",
        "| statistic | |",
        "|---|---:|",
        *(
            f"| {name.replace('_', ' ')} | {format_value(value)} |"
            for name, value in metrics.items()
        ),
        "",
    ]
    if coefficients:
        decay = {f"{horizon} d": mean_of(series) for horizon, series in coefficients.items()}
        known = {name: value for name, value in decay.items() if math.isfinite(value)}
        uri = plot_bars("mean information coefficient by horizon", known, ordered=False)
        lines += [f"![information coefficient]({uri})", ""]
    lines += [f"![distribution]({plot_histogram('distribution of the values', values.values)})", ""]
    newest = rows.sort(["date", "value"], descending=[True, True]).head(SHOWN_ROWS)
    lines += ["| date | symbol | value |", "|---|---|---:|"]
    lines += [f"| {row[0]} | {row[1]} | {row[2]:.4g} |" for row in newest.iter_rows()]
    return "\n".join(lines)
