"""A signal's tear sheet as Markdown for an artifact, and as a page of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from prefect_instances.libs.quant.tear_sheet import HorizonFigures, TearSheet
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.services.rendering.markdown import render_markdown
from prefect_instances.libs.services.rendering.plots import plot_bars

HORIZON_COLUMNS = (
    "horizon, bars",
    "IC",
    "rank IC",
    "its std",
    "t",
    "bars",
    "autocorrelation",
    "turnover",
)

STYLE = (
    "body{font:15px/1.5 system-ui,sans-serif;color:#1f2937;max-width:60rem;margin:2rem auto;"
    "padding:0 1rem}table{border-collapse:collapse;margin:1rem 0}th,td{padding:.25rem .75rem;"
    "border-bottom:1px solid #e5e7eb;text-align:right}th:first-child,td:first-child{text-align:"
    "left}img{max-width:100%}code{background:#f3f4f6;padding:0 .25rem}"
)


def render_tear_sheet(sheet: TearSheet) -> str:
    """Render the figures as Markdown: tables by horizon and quantile, and plots as data URIs."""
    parts = [
        f"{name_bars(sheet.bars)}, {sheet.assets:,} assets, {sheet.coverage:.1%} of them with a "
        "value",
        _table("statistic", {n.replace("_", " "): v for n, v in sheet.distribution.items()}),
    ]
    if sheet.horizons:
        parts += [_horizons(sheet.horizons), _quantiles(sheet.horizons), *_plots(sheet.horizons)]
    if sheet.groups:
        first = name_bars(sheet.horizons[0].horizon)
        parts += [f"### Rank IC by sector, {first}", _table("sector", sheet.groups)]
    if sheet.others:
        parts += ["### Rank correlation with other signals", _table("signal", sheet.others)]
    return "\n\n".join(parts)


def render_page(title: str, markdown: str) -> str:
    """Render Markdown as one HTML page that needs no internet."""
    from html import escape

    body = render_markdown(markdown)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f"<style>{STYLE}</style></head><body>{body}</body></html>"
    )


def _table(head: str, rows: Mapping[str, float]) -> str:
    lines = [f"| {head} | |", "|---|---:|"]
    return "\n".join([*lines, *(f"| {name} | {_shown(value)} |" for name, value in rows.items())])


def list_horizons(horizons: Sequence[HorizonFigures]) -> list[list[str]]:
    """List the cells of `HORIZON_COLUMNS`, a row for each horizon; a dash where undefined."""
    rows = []
    for one in horizons:
        figures = (one.ic, one.rank_ic, one.rank_ic_std, one.t)
        cells = [str(one.horizon), *(_shown(value) for value in figures), f"{one.bars:,}"]
        rows.append([*cells, _shown(one.autocorrelation), _percent(one.turnover)])
    return rows


def list_quantiles(horizons: Sequence[HorizonFigures]) -> list[list[str]]:
    """List horizon, mean return of each quantile and spread, a row for each horizon."""
    return [
        [str(one.horizon), *(_percent(value) for value in (*one.quantiles, one.spread))]
        for one in horizons
    ]


def name_quantiles(count: int) -> list[str]:
    """Name the quantiles from the lowest values to the highest, and their spread."""
    return ["lowest", *(str(one) for one in range(2, count)), "highest", "spread"]


def name_bars(count: int) -> str:
    """Name a number of bars."""
    return f"{count:,} bar" if count == 1 else f"{count:,} bars"


def _horizons(horizons: tuple[HorizonFigures, ...]) -> str:
    note = "`t` is corrected for returns that overlap (Newey and West). `turnover` is the share of "
    note += "the highest quantile that was not in it one horizon before."
    return "\n\n".join([_grid(HORIZON_COLUMNS, list_horizons(horizons)), note])


def _quantiles(horizons: tuple[HorizonFigures, ...]) -> str:
    names = ["horizon, bars", *name_quantiles(len(horizons[0].quantiles))]
    table = _grid(names, list_quantiles(horizons))
    return "\n\n".join(["Mean return by quantile of the signal:", table])


def _grid(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(head)} |", f"|{'---:|' * len(head)}"]
    return "\n".join([*lines, *(f"| {' | '.join(row)} |" for row in rows)])


def _plots(horizons: tuple[HorizonFigures, ...]) -> list[str]:
    decay = {name_bars(one.horizon): one.rank_ic for one in horizons}
    first = horizons[0]
    returns = {f"quantile {n + 1}": value * 1e4 for n, value in enumerate(first.quantiles)}
    drawn = {
        "mean rank IC by horizon": decay,
        f"mean return by quantile over {name_bars(first.horizon)}, basis points": returns,
    }
    known = {
        title: {name: value for name, value in values.items() if math.isfinite(value)}
        for title, values in drawn.items()
    }
    return [
        f"![{title}]({plot_bars(title, values, ordered=False)})"
        for title, values in known.items()
        if values
    ]


def _shown(value: float) -> str:
    return format_value(value) if math.isfinite(value) else "-"


def _percent(value: float) -> str:
    return f"{value:.2%}" if math.isfinite(value) else "-"
