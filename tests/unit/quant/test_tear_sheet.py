"""Figures of a signal, against pandas, scipy and statsmodels-like formulas in loops."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from prefect_instances.libs.quant.statistics import correlations
from prefect_instances.libs.quant.tear_sheet import (
    group_by_quantile,
    judge_horizon,
    judge_signal,
    mean_by_group,
    newey_west_t,
    turnover_of,
)

BARS, ASSETS = 120, 12
RNG = np.random.default_rng(17)
PRICES = 100 * np.exp(np.cumsum(RNG.normal(0.0, 0.02, (BARS, ASSETS)), axis=0))
VALUES = RNG.normal(size=(BARS, ASSETS))
VALUES[::9, 3] = math.nan
PRICES[40:60, 5] = math.nan
VALUES[30] = math.nan


def expected(horizon: int, quantiles: int) -> dict[str, Any]:
    """The same figures with pandas, from a long table as alphalens has it."""
    outcomes = pd.DataFrame(PRICES).pct_change(horizon, fill_method=None).shift(-horizon)
    table = pd.DataFrame({"value": pd.DataFrame(VALUES).stack(), "later": outcomes.stack()})
    pairs = table.dropna()
    by_bar = pairs.groupby(level=0)
    enough = by_bar.size() >= 3
    pearson = by_bar.apply(lambda rows: rows["value"].corr(rows["later"]))[enough]
    spearman = by_bar.apply(lambda rows: stats.spearmanr(rows["value"], rows["later"])[0])[enough]
    values = table["value"].dropna()
    group = values.groupby(level=0).transform(lambda row: pd.qcut(row, quantiles, labels=False))
    later = table["later"].reindex(values.index)
    means = later.groupby([group, values.index.get_level_values(0)]).mean().groupby(level=0).mean()
    wide = pd.DataFrame(VALUES)
    shifted = wide.shift(horizon)
    same = [
        stats.spearmanr(a[ok], b[ok])[0]
        for a, b in zip(wide.to_numpy(), shifted.to_numpy(), strict=True)
        if (ok := np.isfinite(a) & np.isfinite(b)).sum() >= 3
    ]
    top = {
        bar: set(rows[rows == quantiles - 1].index.get_level_values(1))
        for bar, rows in group.groupby(level=0)
    }
    new = [
        len(top[bar] - top[bar - horizon]) / len(top[bar])
        for bar in top
        if bar - horizon in top and top[bar]
    ]
    return {
        "ic": pearson.mean(),
        "rank_ic": spearman.mean(),
        "rank_ic_std": spearman.std(),
        "bars": len(spearman),
        "quantiles": tuple(means),
        "autocorrelation": np.mean(same),
        "turnover": np.mean(new),
    }


@pytest.mark.parametrize("horizon", [1, 5, 21])
@pytest.mark.parametrize("quantiles", [3, 5])
def test_the_figures_of_a_horizon_are_those_of_pandas(horizon: int, quantiles: int) -> None:
    found = judge_horizon(VALUES, PRICES, horizon, quantiles)
    for name, value in expected(horizon, quantiles).items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-12), name
    assert found.spread == found.quantiles[-1] - found.quantiles[0]


def test_a_mean_of_independent_terms_has_its_plain_t() -> None:
    series = RNG.normal(0.1, 1.0, 400)
    plain = series.mean() / (series.std() / math.sqrt(400))
    assert newey_west_t(series, 0) == pytest.approx(plain, abs=1e-12)


@pytest.mark.parametrize("lags", [1, 4, 20])
def test_overlapping_terms_have_the_variance_of_newey_and_west(lags: int) -> None:
    series = np.convolve(RNG.normal(0.1, 1.0, 300), np.ones(lags + 1), "valid")
    count, centred = len(series), series - series.mean()
    total = sum(
        (1 - abs(i - j) / (lags + 1)) * centred[i] * centred[j]
        for i in range(count)
        for j in range(max(0, i - lags), min(count, i + lags + 1))
    )
    variance = total / count**2
    assert newey_west_t(series, lags) == pytest.approx(series.mean() / math.sqrt(variance))


def test_noise_over_a_long_horizon_is_seldom_significant_with_the_correction() -> None:
    """The plain t-statistic of overlapping returns calls a third of all noise significant."""
    corrected, plain = [], []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        prices = np.exp(np.cumsum(rng.normal(0.0, 0.01, (600, 10)), axis=0))
        values = np.cumsum(rng.normal(size=(600, 10)), axis=0)
        figures = judge_horizon(values, prices, 10, 5)
        corrected.append(abs(figures.t) > 1.96)
        plain.append(abs(figures.rank_ic) / figures.rank_ic_std * math.sqrt(figures.bars) > 1.96)
    assert np.mean(corrected) < 0.2
    assert np.mean(plain) > 0.4


@pytest.mark.parametrize("empty", [np.full((30, 4), np.nan), np.ones((30, 4))])
def test_a_signal_without_variation_has_no_coefficient(empty: np.ndarray) -> None:
    found = judge_horizon(empty, PRICES[:30, :4], 5, 3)
    assert all(math.isnan(one) for one in (found.ic, found.rank_ic, found.t))
    assert found.bars == 0


def test_fewer_assets_than_quantiles_and_horizons_beyond_the_data_are_undefined() -> None:
    assert np.isnan(group_by_quantile(VALUES[:, :3], 5)).all()
    assert math.isnan(turnover_of(np.ones((10, 2), dtype=bool), 10))
    assert judge_horizon(VALUES[:10], PRICES[:10], 21, 3).bars == 0


def test_as_many_assets_as_quantiles_have_one_each() -> None:
    assert group_by_quantile(np.array([[3.0, 1.0, 2.0]]), 3).tolist() == [[2.0, 0.0, 1.0]]


def test_a_constant_row_has_no_correlation_and_a_linear_one_has_one() -> None:
    values = np.array([[1.0, 2.0, 3.0], [1.0, 1.0, 1.0]])
    found = correlations(values, np.array([[2.0, 4.0, 6.0], [1.0, 2.0, 3.0]]))
    assert found[0] == pytest.approx(1.0)
    assert math.isnan(found[1])


def test_groups_are_judged_apart() -> None:
    values = VALUES.copy()
    prices = np.cumprod(1 + 0.001 * np.sign(np.nan_to_num(VALUES)), axis=0)
    prices = np.vstack([np.ones(ASSETS), prices[:-1]])
    prices[:, 6:] = PRICES[:, 6:]
    found = mean_by_group(values, prices, 1, ["tech"] * 6 + ["energy"] * 6)
    assert found["tech"] > 0.7
    assert abs(found["energy"]) < 0.2


def test_the_distribution_is_that_of_the_bars_with_values() -> None:
    late = VALUES.copy()
    late[:50] = math.nan
    sheet = judge_signal(late, PRICES, [1])
    missing = int(np.isnan(late[50:]).sum())
    assert (sheet.bars, missing) == (BARS - 50, 8)
    assert sheet.distribution["rows"] == (BARS - 50) * ASSETS
    assert sheet.distribution["nan_share"] == pytest.approx(missing / sheet.distribution["rows"])
    assert sheet.coverage == pytest.approx(1 - sheet.distribution["nan_share"])
