"""The procedure of experiments: evaluate an expression and measure its predictive value."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import polars as pl

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.pipeline import ExtractContext, Input, Pipeline
from prefect_instances.libs.plugins.expression import ExpressionPipeline, Prepared
from prefect_instances.libs.plugins.local import LocalExecutor
from prefect_instances.libs.quant.statistics import distribution
from prefect_instances.libs.quant.tear_sheet import TearSheet
from prefect_instances.libs.services.composition.catalog import prefer_pinned
from prefect_instances.libs.services.composition.components import open_output
from prefect_instances.libs.services.composition.instance_types.experiments import (
    build_expression_pipeline,
)
from prefect_instances.libs.services.procedures.panels import Panel, build_panel, read_panel
from prefect_instances.libs.services.procedures.sweeps import (
    collect_inputs,
    count_points,
    describe_sweep,
    judge_points,
    make_sweep_pages,
    record_points,
)
from prefect_instances.libs.services.procedures.tear_sheets import judge_panel
from prefect_instances.libs.services.procedures.trials import POINTS
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.plots import plot_histogram
from prefect_instances.libs.services.rendering.tear_sheets import render_tear_sheet
from prefect_instances.libs.services.runs.run_context import Frame, Job, Result
from prefect_instances.libs.specs import ExperimentSpec, Point

SHOWN_ROWS = 20
NO_VALUE = "the expression has no value on these dates for these symbols"


def preview(job: Job) -> Result:
    """Evaluate the expression (date x symbol); report its statistics as metrics and pages.

    A replay has the rows only.
    """
    spec = job.spec
    assert isinstance(spec, ExperimentSpec)
    pipeline = job.opened.components["pipeline"]
    assert isinstance(pipeline, Pipeline)
    inputs = [item.as_input() for item in job.inputs]
    swept = spec.sweep.list_points()
    inputs = collect_inputs(inputs) if swept else inputs
    rows = _looked_at(_evaluate(job, pipeline, inputs), spec)
    if not rows.height:
        raise DataRejected(NO_VALUE)
    store = open_output(job.services, job.instance.id, job.kind)
    if job.replay:
        return Result(Frame(rows, store))
    values = build_panel(rows.sort("date", "symbol"), "value")
    prices = _prices(job, spec)
    sheet = judge_panel(values, prices, spec.horizons, calendar=spec.calendar) if prices else None
    metrics = _metrics(values, sheet)
    page = _page(job, rows, values, sheet, metrics)
    pages = [Page("statistics", "markdown", page, "Tear sheet: what the values foretell")]
    if swept:
        evaluate = _prepare_points(job, spec, inputs)
        points = judge_points(spec, evaluate, prices, job.opened.executor or LocalExecutor())
        metrics |= {POINTS: count_points(spec), "sweep": record_points(points)}
        pages += make_sweep_pages(spec, points)
    return Result(Frame(rows, store), metrics, pages)


def _evaluate(job: Job, pipeline: Pipeline, inputs: Sequence[Input]) -> pl.DataFrame:
    return pipeline.extract(_context(job), inputs, None).frame


def _context(job: Job) -> ExtractContext:
    started, as_of = job.run.started_at, job.run.parameters.as_of
    return ExtractContext(job.instance.name, started, as_of, executor=job.opened.executor)


@dataclass(frozen=True, slots=True)
class PointEvaluator:
    """Evaluates the points of a sweep in any process; a text is why a point cannot be."""

    spec: ExperimentSpec
    prepared: Sequence[tuple[Point, Prepared | str]]

    def __call__(self, point: Point) -> Panel:
        """Return the values of a point; raise DataRejected where it has none."""
        found = next(found for known, found in self.prepared if known == point)
        if isinstance(found, str):
            raise DataRejected(found)
        rows = _looked_at(found.compute(), self.spec)
        if not rows.height:
            raise DataRejected(NO_VALUE)
        return build_panel(rows.sort("date", "symbol"), "value")


def _prepare_points(job: Job, spec: ExperimentSpec, inputs: Sequence[Input]) -> PointEvaluator:
    """Prepare all points, with the versions of ops that the experiment keeps.

    Points that read the same fields share their rows, so that these are kept and sent once.
    """
    with job.services.database.read() as session:
        registry = prefer_pinned(session, job.services.registry, job.instance.id)
    shared: dict[tuple[object, ...], pl.DataFrame] = {}
    prepared: list[tuple[Point, Prepared | str]] = []
    for point in spec.sweep.list_points():
        pipeline = build_expression_pipeline(registry, spec.at_point(point))
        assert isinstance(pipeline, ExpressionPipeline)
        try:
            made = pipeline.prepare(_context(job), inputs)
        except DataRejected as error:
            prepared.append((point, str(error)))
            continue
        rows = shared.setdefault(made.bindings, made.rows)
        program = replace(made.program, calls=())
        prepared.append((point, replace(made, program=program, rows=rows)))
    return PointEvaluator(spec, prepared)


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


def _prices(job: Job, spec: ExperimentSpec) -> Panel | None:
    """Read the prices from the first upstream that has the price column; None if none has it."""
    for item in job.inputs:
        if spec.price_column in item.version.columns:
            return read_panel(item, spec.price_column)
    return None


def _metrics(values: Panel, sheet: TearSheet | None) -> dict[str, object]:
    found: dict[str, object] = {**distribution(values.values), "symbols": len(values.symbols)}
    for one in sheet.horizons if sheet else ():
        named = {f"ic_{one.horizon}": one.rank_ic, f"ic_t_{one.horizon}": one.t}
        found |= {name: value for name, value in named.items() if math.isfinite(value)}
    return found


def _page(
    job: Job,
    rows: pl.DataFrame,
    values: Panel,
    sheet: TearSheet | None,
    metrics: Mapping[str, object],
) -> str:
    spec = job.spec
    assert isinstance(spec, ExperimentSpec)
    lines = [
        f"## {job.instance.label}",
        "",
        f"`{_expression_of(job)}`",
        "",
        *([describe_sweep(spec), ""] if spec.sweep.list_points() else []),
        f"{values.dates[0]} to {values.dates[-1]}, {len(values.symbols)} symbols",
        "",
    ]
    lines += [render_tear_sheet(sheet)] if sheet else _statistics(metrics)
    lines += ["", f"![distribution]({plot_histogram('distribution of the values', values.values)})"]
    newest = rows.sort(["date", "value"], descending=[True, True]).head(SHOWN_ROWS)
    lines += ["", "| date | symbol | value |", "|---|---|---:|"]
    lines += [f"| {row[0]} | {row[1]} | {row[2]:.4g} |" for row in newest.iter_rows()]
    return "\n".join(lines)


def _statistics(metrics: Mapping[str, object]) -> list[str]:
    named = ((name.replace("_", " "), format_value(value)) for name, value in metrics.items())
    return ["| statistic | |", "|---|---:|", *(f"| {name} | {shown} |" for name, shown in named)]
