"""Interactive figures with plotly, as objects for notebooks and as pages without internet."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from prefect_instances.libs.services.rendering.plots import BLUE, GREY, RED

if TYPE_CHECKING:
    from plotly.graph_objects import Figure  # type: ignore[import-untyped]  # it ships no types

PORTFOLIO = "PORTFOLIO"
"""The symbol of the portfolio in the output of a backtest; the other is its benchmark."""

MANY = 25
"""Number of symbols up to which each has a line of its own; more are drawn as quantiles."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

ROW_HEIGHT, HEAD_HEIGHT = 260, 140


def draw_fields(title: str, frame: pl.DataFrame, fields: Sequence[str]) -> Figure:
    """Draw each field of a frame (date x symbol, long) in a row of its own, a line each symbol.

    More than ``MANY`` symbols are drawn as quantiles across the symbols of each date.
    """
    figure = _make_figure(title, list(fields))
    for row, field in enumerate(fields, start=1):
        for line in draw_lines(frame, field, legend=row == 1):
            figure.add_trace(line, row=row, col=1)
    return figure


def draw_signal(title: str, frame: pl.DataFrame, fields: Sequence[str]) -> Figure:
    """Draw the values of a signal (date x symbol, long) above its coverage.

    Coverage is the number of symbols with a finite value of the first field on each date.
    """
    from plotly.graph_objects import Scatter

    figure = _make_figure(title, [*fields, "coverage"])
    for row, field in enumerate(fields, start=1):
        for line in draw_lines(frame, field, legend=row == 1):
            figure.add_trace(line, row=row, col=1)
    covered = count_coverage(frame, fields[0])
    area = Scatter(
        x=covered["date"].to_list(),
        y=covered["symbols"].to_list(),
        name="coverage",
        fill="tozeroy",
        line={"color": GREY, "shape": "hv"},
        showlegend=False,
    )
    figure.add_trace(area, row=len(fields) + 1, col=1)
    return figure


def count_coverage(frame: pl.DataFrame, field: str) -> pl.DataFrame:
    """Count the symbols with a finite value on each date; columns date, symbols."""
    finite = pl.col(field).is_not_null() & pl.col(field).cast(pl.Float64).is_finite()
    return frame.group_by("date").agg(symbols=finite.sum().cast(pl.Int64)).sort("date")


def draw_backtest(title: str, frame: pl.DataFrame) -> Figure:
    """Draw equity above drawdown; ``frame`` has equity and drawdown of each symbol by date."""
    from plotly.graph_objects import Scatter

    figure = _make_figure(title, ["equity", "drawdown"], heights=[0.7, 0.3])
    parts = frame.sort("date").partition_by("symbol", as_dict=True)
    for (symbol,), part in sorted(parts.items(), key=lambda item: item[0] != (PORTFOLIO,)):
        main = symbol == PORTFOLIO
        dates, colour = part["date"].to_list(), BLUE if main else GREY
        curve = Scatter(x=dates, y=part["equity"].to_list(), name=symbol, line={"color": colour})
        figure.add_trace(curve, row=1, col=1)
        fall = Scatter(
            x=dates,
            y=part["drawdown"].to_list(),
            name=f"drawdown of {symbol}",
            showlegend=False,
            fill="tozeroy" if main else None,
            line={"color": RED if main else GREY, "width": 1},
        )
        figure.add_trace(fall, row=2, col=1)
    figure.update_yaxes(tickformat=".0%", row=2, col=1)
    return figure


def draw_weights(title: str, frame: pl.DataFrame) -> Figure:
    """Draw the weight of each symbol over time: stacked, or as steps where one is negative."""
    from plotly.graph_objects import Scatter

    figure = _make_figure(title, ["weight"])
    stacked = frame.filter(pl.col("weight") < 0).is_empty()
    wide = frame.pivot(on="symbol", index="date", values="weight").sort("date").fill_null(0.0)
    held = [name for name in wide.columns[1:] if wide[name].abs().max()]
    for symbol in sorted(held, key=lambda name: -float(wide[name].abs().mean() or 0)):  # type: ignore[arg-type]  # a float column
        line = Scatter(
            x=wide["date"].to_list(),
            y=wide[symbol].to_list(),
            name=symbol,
            line={"shape": "hv", "width": 0.5 if stacked else 1.5},
            stackgroup="weights" if stacked else None,
        )
        figure.add_trace(line, row=1, col=1)
    figure.update_yaxes(tickformat=".0%")
    return figure


def draw_lines(frame: pl.DataFrame, field: str, *, legend: bool) -> Iterable[Any]:
    """Return plotly's lines of a field: one for each symbol, or quantiles if there are many."""
    from plotly.colors import qualitative  # type: ignore[import-untyped]  # it ships no types
    from plotly.graph_objects import Scatter

    symbols = sorted(frame["symbol"].unique())
    lines = frame if len(symbols) <= MANY else find_quantiles(frame, field)
    parts = lines.sort("date").partition_by("symbol", as_dict=True)
    for at, ((symbol,), part) in enumerate(sorted(parts.items(), key=lambda item: item[0])):
        yield Scatter(
            x=part["date"].to_list(),
            y=part[field].to_list(),
            name=symbol,
            legendgroup=symbol,
            showlegend=legend,
            line={"width": 1.2, "color": qualitative.Dark24[at % len(qualitative.Dark24)]},
        )


def find_quantiles(frame: pl.DataFrame, field: str) -> pl.DataFrame:
    """Return quantiles across the symbols of each date, as symbols ``p05`` to ``p95``."""
    finite = frame.with_columns(pl.col(field).cast(pl.Float64).fill_nan(None))
    parts = [
        finite.group_by("date")
        .agg(pl.col(field).quantile(share, "linear"))
        .with_columns(symbol=pl.lit(f"p{share * 100:02.0f}"))
        for share in QUANTILES
    ]
    return pl.concat(parts).select("date", "symbol", field)


def write_page(figure: Figure, path: Path) -> Path:
    """Write a figure as one HTML file with plotly in it, so that it works without internet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.write_html(str(path), include_plotlyjs=True)
    return path


def _make_figure(title: str, rows: Sequence[str], heights: Sequence[float] | None = None) -> Any:
    """Make an empty figure with one row for each title, all on the same dates."""
    from plotly.subplots import make_subplots  # type: ignore[import-untyped]  # it ships no types

    figure = make_subplots(
        rows=len(rows),
        cols=1,
        shared_xaxes=True,
        subplot_titles=list(rows),
        row_heights=list(heights) if heights else None,
        vertical_spacing=0.3 / max(len(rows), 2) / 2,
    )
    figure.update_layout(
        title=title, template="plotly_white", height=HEAD_HEIGHT + ROW_HEIGHT * len(rows)
    )
    return figure
