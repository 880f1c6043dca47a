"""How far a Sharpe ratio can be trusted, given the length of its history and the trials before it.

All Sharpe ratios here are per bar, not annual, with a risk-free rate of 0. SR is that of the
sample, g3 the skewness, g4 the kurtosis (3 for a normal distribution), T the number of bars.

Sources:
[1] Bailey, Lopez de Prado (2012), "The Sharpe ratio efficient frontier", Journal of Risk 15(2);
[2] Bailey, Lopez de Prado (2014), "The deflated Sharpe ratio", Journal of Portfolio Management 40;
[3] Bailey, Borwein, Lopez de Prado, Zhu (2017), "The probability of backtest overfitting", Journal
of Computational Finance 20(4).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

CONFIDENCE = 0.95
"""Probability from which a Sharpe ratio counts as significant."""

BLOCKS = 16
"""Number of blocks of bars in the cross-validation of `overfitting_probability`, as in [3]."""

MIN_BARS = 30
"""Fewer bars have no usable skewness and kurtosis: the measures are then undefined."""


def sharpe_of(returns: Floats) -> float:
    """Compute mean by standard deviation (n - 1) of returns per bar; NaN if they do not vary."""
    spread = float(returns.std(ddof=1)) if len(returns) > 1 else 0.0
    return float(returns.mean()) / spread if spread > 0 else math.nan


def error_of_sharpe(returns: Floats) -> float:
    """Compute the standard error of the Sharpe ratio, with its skewness and kurtosis.

    sqrt((1 - g3 SR + (g4 - 1) / 4 SR^2) / (T - 1)), [1]. NaN with too few bars.
    """
    spread = float(returns.std()) if len(returns) >= MIN_BARS else 0.0
    if not spread > 0:
        return math.nan
    standard = (returns - returns.mean()) / spread
    skewness, kurtosis = float((standard**3).mean()), float((standard**4).mean())
    sharpe = sharpe_of(returns)
    factor = 1.0 - skewness * sharpe + (kurtosis - 1.0) / 4.0 * sharpe**2
    return math.sqrt(factor / (len(returns) - 1)) if factor > 0 else math.nan


def probabilistic_sharpe(returns: Floats, threshold: float = 0.0) -> float:
    """Compute the probability that the true Sharpe ratio per bar is above ``threshold``, [1]."""
    from scipy.stats import norm

    error = error_of_sharpe(returns)
    return float(norm.cdf((sharpe_of(returns) - threshold) / error))


def expected_maximum_sharpe(trials: int, variance: float) -> float:
    """Compute the Sharpe ratio that the best of ``trials`` without any skill is expected to show.

    ``variance``: of the Sharpe ratios per bar of the trials. 0 for a single trial. Source: [2].
    """
    from scipy.stats import norm

    if trials < 2:
        return 0.0
    first, second = norm.ppf(1.0 - 1.0 / trials), norm.ppf(1.0 - 1.0 / (trials * math.e))
    return float(math.sqrt(variance) * ((1.0 - np.euler_gamma) * first + np.euler_gamma * second))


def deflated_sharpe(returns: Floats, trials: int, others: Sequence[float] = ()) -> float:
    """Compute the probability that the true Sharpe ratio is above that of the luckiest trial, [2].

    ``trials``: number of configurations that were tried, this one included. ``others``: Sharpe
    ratios per bar of the trials that have one. Their variance is used if it is larger than 1 / (T -
    1), that of an estimate without skill: trials that resemble each other vary less than that.
    """
    variance = 1.0 / max(len(returns) - 1, 1)
    known = np.array([one for one in others if math.isfinite(one)])
    if len(known) > 1:
        variance = max(variance, float(known.var(ddof=1)))
    return probabilistic_sharpe(returns, expected_maximum_sharpe(trials, variance))


def minimum_track_record(
    returns: Floats, threshold: float = 0.0, confidence: float = CONFIDENCE
) -> float:
    """Compute the number of bars after which this Sharpe ratio is significant, [1].

    Infinite if the Sharpe ratio is not above ``threshold``.
    """
    from scipy.stats import norm

    above = sharpe_of(returns) - threshold
    if not above > 0:
        return math.inf
    error = error_of_sharpe(returns) * math.sqrt(len(returns) - 1)
    return float(1.0 + (error * norm.ppf(confidence) / above) ** 2)


def overfitting_probability(returns: Floats, blocks: int = BLOCKS) -> float:
    """Compute how often the best trial in one half of the bars is below the median in the other.

    ``returns``: bars x trials. The bars are cut into ``blocks`` equal blocks (an even number, the
    first bars that do not fit are left out); each half of the blocks chooses once: combinatorially
    symmetric cross-validation, [3]. NaN with fewer than two trials or two bars a block.
    """
    bars, trials = returns.shape
    size = bars // blocks
    if trials < 2 or size < 2:
        return math.nan
    cut = returns[bars - size * blocks :].reshape(blocks, size, trials)
    sums, squares = cut.sum(axis=1), (cut**2).sum(axis=1)
    halves = [list(half) for half in combinations(range(blocks), blocks // 2)]
    count = size * blocks // 2
    inside = np.array([_sharpes(sums[half], squares[half], count) for half in halves])
    outside = inside[::-1]  # combinations are ordered so that the k-th last is the other half
    rows = np.arange(len(halves))
    best = inside.argmax(axis=1)
    chosen = outside[rows, best][:, None]
    below = (outside < chosen).sum(axis=1) + ((outside == chosen).sum(axis=1) + 1) / 2
    return float((below / (trials + 1) <= 0.5).mean())


def _sharpes(sums: Floats, squares: Floats, count: int) -> Floats:
    """Return the Sharpe ratio of each trial from its sums over blocks; 0 where nothing varies."""
    mean = sums.sum(axis=0) / count
    variance = (squares.sum(axis=0) - count * mean**2) / (count - 1)
    spread = np.sqrt(np.maximum(variance, 0.0))
    found: Floats = np.divide(mean, spread, out=np.zeros_like(mean), where=spread > 1e-15)
    return found
