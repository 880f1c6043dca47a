"""Evaluate the points of an experiment's sweep, and show them side by side."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.executor import Executor
from prefect_instances.libs.definitions.flow import Page
from prefect_instances.libs.definitions.pipeline import Input
from prefect_instances.libs.plugins.local import LocalExecutor
from prefect_instances.libs.quant.tear_sheet import HorizonFigures
from prefect_instances.libs.services.composition.instance_types.sweep_problems import (
    describe_point,
)
from prefect_instances.libs.services.procedures.panels import Panel
from prefect_instances.libs.services.procedures.tear_sheets import judge_panel
from prefect_instances.libs.services.rendering.plots import plot_bars, plot_heat_map
from prefect_instances.libs.specs import ExperimentSpec, Point

FIGURES = {
    "mean IC": "ic",
    "mean rank IC": "rank_ic",
    "t statistic": "t",
    "turnover of top": "turnover",
}
"""Columns of the table of a sweep, and the figures of a tear sheet that they show."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """What one point shows.

    ``values``: how many the expression has there. ``figures``: those of the first horizon; None
    without prices or values. ``reason``: why there is no value; empty if there are some.
    """

    point: Point
    values: int
    figures: HorizonFigures | None
    reason: str = ""

    def list_figures(self) -> dict[str, float | None]:
        """List the figures by column; None where undefined."""
        found = {column: getattr(self.figures, name, math.nan) for column, name in FIGURES.items()}
        return {column: value if math.isfinite(value) else None for column, value in found.items()}


Evaluate = Callable[[Point], Panel]
"""Returns the values of a point, and raises DataRejected where it has none."""


def judge_points(
    spec: ExperimentSpec,
    evaluate: Evaluate,
    prices: Panel | None,
    executor: Executor = LocalExecutor(),  # noqa: B008 - it has no state
) -> list[SweepPoint]:
    """Evaluate and judge each point of a sweep; a point whose data are rejected says why.

    Each point is a part for ``executor``; outside of this process ``evaluate`` must be picklable.
    """
    return executor.map(judge_point, spec.sweep.list_points(), (spec, evaluate, prices))


def judge_point(shared: tuple[ExperimentSpec, Evaluate, Panel | None], point: Point) -> SweepPoint:
    """Evaluate and judge one point; ``shared`` is what all points of a sweep have in common."""
    spec, evaluate, prices = shared
    try:
        values = evaluate(point)
    except DataRejected as error:
        return SweepPoint(point, 0, None, str(error))
    count = int(np.isfinite(values.values).sum())
    return SweepPoint(point, count, _judge(spec, values, prices))


def count_points(spec: ExperimentSpec) -> int:
    """Count the configurations that a run tries: the points, and the output if it is none."""
    points = spec.sweep.list_points()
    return len(points) + (spec.base_point() not in points)


def record_points(points: Sequence[SweepPoint]) -> dict[str, dict[str, object]]:
    """Return the figures of each point by its description, for the metrics of the run."""
    return {
        describe_point(one.point): {
            "values": one.values,
            **{FIGURES[column]: value for column, value in one.list_figures().items()},
            **({"reason": one.reason} if one.reason else {}),
        }
        for one in points
    }


def make_sweep_pages(spec: ExperimentSpec, points: Sequence[SweepPoint]) -> list[Page]:
    """Make the table of all points, and a page with a plot if one or two parameters vary."""
    has_reason = any(one.reason for one in points)
    table = [
        {
            **one.point,
            "number of values": one.values,
            **one.list_figures(),
            **({"why no value": one.reason} if has_reason else {}),
        }
        for one in points
    ]
    head = describe_sweep(spec)
    plot = _plot(spec, points)
    body = "\n\n".join(["## Sweep", head, *([plot] if plot else [])])
    return [
        Page("sweep", "table", table, "One row for each point of the sweep"),
        Page("sweep-map", "markdown", body, "Rank IC by parameter"),
    ]


def describe_sweep(spec: ExperimentSpec) -> str:
    """Say in Markdown what was compared, and which point the output is."""
    count = len(spec.sweep.list_points())
    over = f" Figures are over {spec.horizons[0]} bars." if spec.horizons else ""
    return (
        f"{count} points, {count_points(spec)} configurations in all.{over} None is chosen: "
        f"the output is that of `{describe_point(spec.base_point())}`."
    )


def collect_inputs(inputs: Sequence[Input]) -> list[Input]:
    """Read the rows of the inputs once, for all points."""
    return [replace(given, frame=given.frame.collect().lazy()) for given in inputs]


def _judge(spec: ExperimentSpec, values: Panel, prices: Panel | None) -> HorizonFigures | None:
    if prices is None or not spec.horizons:
        return None
    return judge_panel(values, prices, spec.horizons[:1], calendar=spec.calendar).horizons[0]


def list_varying(points: Sequence[Point]) -> dict[str, list[object]]:
    """List the values of each parameter that varies, in the order in which they first occur."""
    seen = {name: list(dict.fromkeys(point[name] for point in points)) for name in points[0]}
    return {name: values for name, values in seen.items() if len(values) > 1}


def _plot(spec: ExperimentSpec, points: Sequence[SweepPoint]) -> str:
    """Plot the rank IC as bars or as a heat map; empty without prices or with more parameters."""
    varying = list_varying([one.point for one in points])
    known = {
        tuple(one.point[name] for name in varying): one.figures.rank_ic
        for one in points
        if one.figures and math.isfinite(one.figures.rank_ic)
    }
    if not known or len(varying) not in (1, 2):
        return ""
    title = f"mean rank IC over {spec.horizons[0]} bars"
    if len(varying) == 1:
        (name,) = varying
        bars = {f"{name} {value}": rank_ic for (value,), rank_ic in known.items()}
        return f"![{title}]({plot_bars(title, bars, ordered=False)})"
    (rows, columns) = varying
    matrix = np.array(
        [[known.get((one, other), math.nan) for other in varying[columns]] for one in varying[rows]]
    )
    axes = {name: [str(value) for value in varying[name]] for name in (rows, columns)}
    return f"![{title}]({plot_heat_map(title, axes, matrix)})"
