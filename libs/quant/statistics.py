"""Statistics of a signal: its distribution, and its rank correlation with later returns."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

MIN_PAIRS = 3
"""Number of assets that a rank correlation of one day needs."""


def distribution(values: Floats) -> dict[str, float]:
    """Compute rows, share of NaN, mean, standard deviation (n - 1), skewness, excess kurtosis.

    Skewness and kurtosis are the standardised central moments of the sample (without bias
    correction). Undefined values are left out.
    """
    flat = values.reshape(-1)
    known = flat[np.isfinite(flat)]
    found = {"rows": float(flat.size), "nan_share": 1.0 - known.size / max(flat.size, 1)}
    if known.size < 2:
        return found
    mean, spread = float(known.mean()), float(known.std())
    found |= {"mean": mean, "std": float(known.std(ddof=1))}
    if spread > 0:
        standard = (known - mean) / spread
        found["skew"] = float((standard**3).mean())
        found["kurtosis"] = float((standard**4).mean() - 3.0)
    return found


def forward_returns(prices: Floats, horizon: int) -> Floats:
    """Compute the simple return over the next ``horizon`` bars (bars x assets); NaN at the end."""
    result = np.full_like(prices, np.nan)
    if horizon < len(prices):
        result[:-horizon] = prices[horizon:] / prices[:-horizon] - 1.0
    return result


def rank_correlations(values: Floats, outcomes: Floats) -> Floats:
    """Compute Spearman's correlation across the assets of each bar; NaN with too few pairs."""
    both = np.isfinite(values) & np.isfinite(outcomes)
    return correlations(*(_rank_rows(np.where(both, one, np.nan)) for one in (values, outcomes)))


def _rank_rows(values: Floats) -> Floats:
    """Return the ranks of each bar's values; equal ones share their mean rank, NaN stays NaN."""
    from scipy.stats import rankdata

    return np.asarray(rankdata(values, axis=1, nan_policy="omit"), dtype=np.float64)


def correlations(values: Floats, outcomes: Floats) -> Floats:
    """Compute Pearson's correlation across the assets of each bar; NaN with too few pairs."""
    both = np.isfinite(values) & np.isfinite(outcomes)
    count = both.sum(axis=1)
    a, b = (_centred(np.where(both, one, 0.0), both, count) for one in (values, outcomes))
    scale = np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    usable = (count >= MIN_PAIRS) & (scale > 0)
    found: Floats = np.divide(
        (a * b).sum(axis=1), scale, out=np.full(len(values), np.nan), where=usable
    )
    return found


def mean_of(values: Floats) -> float:
    """Return the mean of the finite values; NaN if there are none."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if known.size else math.nan


def ranks(values: Floats) -> Floats:
    """Return ranks from 0; equal values share their mean rank."""
    _, place, counts = np.unique(values, return_inverse=True, return_counts=True)
    ends = np.cumsum(counts)
    return np.asarray((ends - (counts + 1) / 2)[place.reshape(-1)], dtype=np.float64)


def _centred(values: Floats, known: NDArray[np.bool_], count: NDArray[np.int64]) -> Floats:
    mean = values.sum(axis=1) / np.maximum(count, 1)
    return np.where(known, values - mean[:, None], 0.0)
