"""Plots of runs as data URIs, which Prefect shows as images."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Any

from prefect_instances.libs.quant.backtest import Floats

WIDTH, HEIGHT, DPI = 9.0, 5.0, 110
INK, GRID, BLUE, GREY, RED = "#1f2937", "#e5e7eb", "#2563eb", "#9ca3af", "#dc2626"
LEGEND_ROWS = 12
"""Assets that a weights plot tells apart; the others are drawn as one."""
LABELLED_CELLS = 100
"""Cells of a heat map up to which each shows its number."""


def plot_equity(
    title: str, dates: Sequence[date], equity: Floats, drawdown: Floats, benchmark: Floats | None
) -> str:
    """Plot equity (and the benchmark, scaled to the same start) above its drawdown."""
    figure, (upper, lower) = _figure(2, heights=(3, 1))
    upper.plot(dates, equity, color=BLUE, linewidth=1.4, label="portfolio")
    if benchmark is not None:
        scaled = benchmark / benchmark[0] * equity[0]
        upper.plot(dates, scaled, color=GREY, linewidth=1.2, label="benchmark")
    upper.set_title(title, loc="left", color=INK, fontsize=11)
    upper.legend(frameon=False, fontsize=8)
    upper.set_ylabel("equity", fontsize=8)
    upper.yaxis.set_major_formatter("{x:,.0f}")
    lower.fill_between(dates, drawdown * 100, 0, color=RED, alpha=0.35, linewidth=0)
    lower.set_ylabel("drawdown %", fontsize=8)
    return _uri(figure)


def plot_weights(title: str, dates: Sequence[date], weights: Mapping[str, Floats]) -> str:
    """Plot weights over time, stacked; the largest on average have a colour of their own."""
    import numpy as np

    figure, (axis,) = _figure(1)
    ordered = sorted(weights, key=lambda symbol: -float(np.abs(weights[symbol]).mean()))
    shown, rest = ordered[:LEGEND_ROWS], ordered[LEGEND_ROWS:]
    rows = [weights[symbol] for symbol in shown]
    labels = list(shown)
    if rest:
        rows.append(np.asarray(sum(weights[symbol] for symbol in rest)))
        labels.append(f"{len(rest)} others")
    if all(float(row.min()) >= 0 for row in rows):
        axis.stackplot(dates, rows, labels=labels, step="post", linewidth=0, colors=_colours())
        axis.set_ylim(0, max(1.0, float(np.sum(rows, axis=0).max())))
    else:
        for row, label in zip(rows, labels, strict=True):
            axis.step(dates, row, where="post", label=label, linewidth=1.0)
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    axis.legend(frameon=False, fontsize=7, loc="center left", bbox_to_anchor=(1.0, 0.5))
    axis.set_ylabel("weight", fontsize=8)
    return _uri(figure)


def plot_histogram(title: str, values: Floats) -> str:
    """Plot how often values occur; values that are not finite are left out."""
    import numpy as np

    figure, (axis,) = _figure(1)
    axis.hist(values[np.isfinite(values)], bins=60, color=BLUE, alpha=0.8)
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    return _uri(figure)


def plot_bars(title: str, values: Mapping[str, float], *, ordered: bool = True) -> str:
    """Plot named values as horizontal bars; ``ordered``: the largest on top."""
    figure, (axis,) = _figure(1)
    names = sorted(values, key=lambda name: values[name]) if ordered else list(values)[::-1]
    axis.barh(names, [values[name] for name in names], color=BLUE)
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    return _uri(figure)


def plot_heat_map(title: str, axes: Mapping[str, Sequence[str]], values: Floats) -> str:
    """Plot a matrix as coloured cells around zero; a cell without a number stays empty.

    ``axes``: two names with their labels, first that of the rows, then that of the columns.
    """
    import numpy as np

    figure, (axis,) = _figure(1)
    (row_name, rows), (column_name, columns) = axes.items()
    most = float(np.nanmax(np.abs(values), initial=1e-12))
    shown = axis.imshow(values, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    axis.grid(visible=False)
    axis.set_yticks(range(len(rows)), rows)
    axis.set_xticks(range(len(columns)), columns)
    axis.set_ylabel(row_name, fontsize=8)
    axis.set_xlabel(column_name, fontsize=8)
    if values.size <= LABELLED_CELLS:
        for (row, column), value in np.ndenumerate(values):
            if np.isfinite(value):
                axis.text(column, row, f"{value:.3f}", ha="center", va="center", fontsize=7)
    figure.colorbar(shown, ax=axis).ax.tick_params(labelsize=8)
    axis.set_title(title, loc="left", color=INK, fontsize=11)
    return _uri(figure)


def _colours() -> list[Any]:
    from matplotlib import colormaps

    return list(colormaps["tab20"].colors)  # type: ignore[attr-defined]  # of a listed map


def _figure(count: int, heights: Sequence[int] | None = None) -> tuple[Any, list[Any]]:
    """Create a figure without the global state of pyplot."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(WIDTH, HEIGHT), dpi=DPI, layout="constrained")
    FigureCanvasAgg(figure)
    ratios = list(heights) if heights else None
    axes = figure.subplots(count, 1, sharex=True, squeeze=False, height_ratios=ratios)[:, 0]
    for axis in axes:
        axis.grid(color=GRID, linewidth=0.6)
        axis.set_axisbelow(True)
        axis.tick_params(labelsize=8, colors=INK)
        for side in ("top", "right"):
            axis.spines[side].set_visible(False)
    return figure, list(axes)


def _uri(figure: Any) -> str:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
