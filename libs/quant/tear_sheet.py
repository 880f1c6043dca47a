"""Figures by which a signal is judged before any backtest: coverage, coefficients, quantiles.

All matrices are bars x assets, NaN for missing. The definitions are those of alphalens. The
``outcomes`` are simple returns over a horizon of bars that begins at the bar of the value.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from prefect_instances.libs.quant.statistics import (
    correlations,
    distribution,
    forward_returns,
    mean_of,
    rank_correlations,
)

Floats = NDArray[np.float64]

QUANTILES = 5
"""Number of groups of equal size into which each bar's values are cut."""

HORIZONS = (1, 5, 10, 21, 63)
"""Horizons in bars where none are given."""


@dataclass(frozen=True, slots=True)
class HorizonFigures:
    """How a signal relates to the returns over one horizon.

    ``ic``: mean of each bar's correlation with the returns (Pearson); ``rank_ic``: of ranks
    (Spearman). ``rank_ic_std``: standard deviation of the latter over bars (n - 1). ``t``: its mean
    by its standard error, corrected for returns that overlap; see `newey_west_t`. ``bars``: number
    of bars that have a rank coefficient. ``quantiles``: mean return of each quantile, lowest values
    first. ``spread``: that of the highest minus the lowest. ``autocorrelation``: mean rank
    correlation of the values with those one horizon before. ``turnover``: mean share of the highest
    quantile's assets that were not in it one horizon before. NaN where undefined.
    """

    horizon: int
    ic: float
    rank_ic: float
    rank_ic_std: float
    t: float
    bars: int
    quantiles: tuple[float, ...]
    spread: float
    autocorrelation: float
    turnover: float


@dataclass(frozen=True, slots=True)
class TearSheet:
    """The figures of one signal.

    ``bars`` and ``assets``: how many the signal has values on. ``coverage``: mean share of the
    assets with a value, over these bars. ``distribution``: of the values on them, see
    ``libs.quant.statistics``. ``horizons``: one entry for each. ``groups``: mean rank coefficient
    over the first horizon within each group of assets, such as a sector; empty where there are
    none. ``others``: mean rank correlation with other signals, by their name.
    """

    bars: int
    assets: int
    coverage: float
    distribution: dict[str, float]
    horizons: tuple[HorizonFigures, ...]
    groups: dict[str, float]
    others: dict[str, float]


def judge_signal(  # one argument for each thing that it is compared with
    values: Floats,
    prices: Floats,
    horizons: Sequence[int],
    quantiles: int = QUANTILES,
    groups: Sequence[str] = (),
    others: Mapping[str, Floats] = MappingProxyType({}),
) -> TearSheet:
    """Compute the figures of a signal against the returns that follow it.

    ``values``, ``prices`` and each of ``others`` (other signals, by name) are (bars x assets) with
    the same bars and assets. ``horizons`` are in bars. ``groups`` names the group of each asset.
    """
    known = np.isfinite(values)
    there = known.any(axis=1)
    by_group = mean_by_group(values, prices, horizons[0], groups) if groups and horizons else {}
    return TearSheet(
        bars=int(there.sum()),
        assets=int(known.any(axis=0).sum()),
        coverage=mean_of(known[there].mean(axis=1)),
        distribution=distribution(values[there]),
        horizons=tuple(judge_horizon(values, prices, one, quantiles) for one in horizons),
        groups=by_group,
        others={name: mean_of(rank_correlations(values, one)) for name, one in others.items()},
    )


def judge_horizon(values: Floats, prices: Floats, horizon: int, quantiles: int) -> HorizonFigures:
    """Compute the figures of a signal for one horizon, in bars."""
    outcomes = forward_returns(prices, horizon)
    series = rank_correlations(values, outcomes)
    known = series[np.isfinite(series)]
    groups = group_by_quantile(values, quantiles)
    means = tuple(
        mean_by_bar(np.where(groups == one, outcomes, np.nan)) for one in range(quantiles)
    )
    before = np.full_like(values, np.nan)
    before[horizon:] = values[:-horizon] if horizon < len(values) else np.nan
    return HorizonFigures(
        horizon=horizon,
        ic=mean_of(correlations(values, outcomes)),
        rank_ic=mean_of(series),
        rank_ic_std=float(known.std(ddof=1)) if len(known) > 1 else math.nan,
        t=newey_west_t(known, horizon - 1),
        bars=len(known),
        quantiles=means,
        spread=means[-1] - means[0],
        autocorrelation=mean_of(rank_correlations(values, before)),
        turnover=turnover_of(groups == quantiles - 1, horizon),
    )


def newey_west_t(series: Floats, lags: int) -> float:
    """Compute the t-statistic of a mean whose terms are correlated over some lags.

    The variance of the mean is that of Newey and West (1987, Econometrica 55) with the weights 1 -
    l / (lags + 1), without correction for small samples. Returns over h bars overlap in h - 1 of
    them. NaN with fewer than three terms or without variation.
    """
    count = len(series)
    if count < 3:
        return math.nan
    centred = series - series.mean()
    variance = float(centred @ centred) / count
    for lag in range(1, min(lags, count - 1) + 1):
        weight = 1.0 - lag / (lags + 1)
        variance += 2.0 * weight * float(centred[lag:] @ centred[:-lag]) / count
    return float(series.mean()) / math.sqrt(variance / count) if variance > 0 else math.nan


def group_by_quantile(values: Floats, quantiles: int) -> Floats:
    """Return the quantile (0 lowest) of each value among its bar's values; NaN for a missing value.

    A value on an edge belongs to the lower quantile, as in ``pandas.qcut``. A bar with fewer values
    than quantiles has none.
    """
    groups = np.full_like(values, np.nan)
    shares = np.linspace(0.0, 1.0, quantiles + 1)[1:-1]
    for bar, row in enumerate(values):
        known = np.isfinite(row)
        if known.sum() >= quantiles:
            edges = np.quantile(row[known], shares)
            groups[bar, known] = np.searchsorted(edges, row[known], side="left")
    return groups


def mean_by_bar(values: Floats) -> float:
    """Return the mean over bars of each bar's mean; bars without a value are left out."""
    known = np.isfinite(values)
    count = known.sum(axis=1)
    sums = np.where(known, values, 0.0).sum(axis=1)
    return mean_of(np.divide(sums, count, out=np.full(len(values), np.nan), where=count > 0))


def turnover_of(members: NDArray[np.bool_], lag: int) -> float:
    """Return the mean share of members that were none ``lag`` bars before; NaN without members."""
    if lag >= len(members):
        return math.nan
    now, before = members[lag:], members[:-lag]
    count = now.sum(axis=1)
    usable = (count > 0) & before.any(axis=1)
    new = (now & ~before).sum(axis=1)
    return mean_of(np.divide(new, count, out=np.full(len(now), np.nan), where=usable))


def mean_by_group(
    values: Floats, prices: Floats, horizon: int, groups: Sequence[str]
) -> dict[str, float]:
    """Compute the mean rank correlation within each group of assets, such as a sector.

    ``values`` and ``prices`` are (bars x assets), ``horizon`` is in bars, and ``groups`` names the
    group of each asset. NaN for a group without enough pairs.
    """
    outcomes = forward_returns(prices, horizon)
    members = np.array(groups)
    return {
        name: mean_of(rank_correlations(values[:, members == name], outcomes[:, members == name]))
        for name in dict.fromkeys(groups)
    }
