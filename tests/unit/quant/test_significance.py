"""The honest Sharpe ratio, against published figures and independent computations."""

from __future__ import annotations

import math
from itertools import combinations

import numpy as np
import pytest
from scipy.stats import norm, ttest_1samp

from prefect_instances.libs.quant.significance import (
    CONFIDENCE,
    deflated_sharpe,
    error_of_sharpe,
    expected_maximum_sharpe,
    minimum_track_record,
    overfitting_probability,
    probabilistic_sharpe,
    sharpe_of,
)


def sample(mean: float, bars: int, seed: int = 7, tails: float = 5.0) -> np.ndarray:
    """Returns with fat tails, whose sample mean is exactly ``mean`` standard deviations."""
    drawn = np.random.default_rng(seed).standard_t(tails, bars)
    return np.asarray((drawn - drawn.mean()) / drawn.std(ddof=1) + mean)


def with_moments(sharpe: float, skewness: float, kurtosis: float, bars: int) -> np.ndarray:
    """Returns on three values with these moments, as near as a count of bars allows."""
    # Three points a < 0 < b with masses that solve mean 0, variance 1, skewness, kurtosis.
    square = kurtosis - skewness**2
    root = math.sqrt(skewness**2 + 4 * square)
    low, high = (skewness - root) / 2, (skewness + root) / 2
    share_low = 1 / (low * (low - high))
    share_high = 1 / (high * (high - low))
    counts = [round(bars * share_low), round(bars * share_high)]
    values = [low] * counts[0] + [high] * counts[1] + [0.0] * (bars - sum(counts))
    found = np.array(values)
    return np.asarray((found - found.mean()) / found.std(ddof=1) + sharpe)


@pytest.mark.parametrize(("bars_per_year", "years"), [(250, 2.73), (52, 2.83), (12, 3.24)])
def test_the_published_minimum_track_record_lengths(bars_per_year: int, years: float) -> None:
    """Bailey, Lopez de Prado (2012): annual Sharpe ratio 2 of normal returns, against 1."""
    scale = math.sqrt(bars_per_year)
    returns = with_moments(2 / scale, 0.0, 3.0, 600_000)
    found = minimum_track_record(returns, 1 / scale) / bars_per_year
    assert found == pytest.approx(years, abs=0.006)


def test_the_published_example_of_the_deflated_sharpe_ratio() -> None:
    """Bailey, Lopez de Prado (2014), section "A numerical example".

    1,250 daily returns, annual Sharpe ratio 2.5 with skewness -3 and kurtosis 10, 100 independent
    trials whose annual Sharpe ratios have variance 1/2 (250 bars a year): the deflated Sharpe ratio
    is 0.9004, and with 46 trials 0.9505.
    """
    for trials, expected in ((100, 0.9004), (46, 0.9505)):
        threshold = expected_maximum_sharpe(trials, 0.5 / 250)
        sharpe = 2.5 / math.sqrt(250)
        error = math.sqrt((1 + 3 * sharpe + 9 / 4 * sharpe**2) / 1249)
        assert norm.cdf((sharpe - threshold) / error) == pytest.approx(expected, abs=2e-4)
    assert expected_maximum_sharpe(100, 0.5 / 250) == pytest.approx(0.1132, abs=1e-4)


def test_the_error_of_a_sharpe_ratio_is_that_of_repeated_samples() -> None:
    rng = np.random.default_rng(3)
    drawn = rng.gamma(2.0, 1.0, (4000, 500)) - 1.9
    spread = np.std([sharpe_of(row) for row in drawn], ddof=1)
    assert np.mean([error_of_sharpe(row) for row in drawn]) == pytest.approx(spread, rel=0.05)


def test_the_expected_maximum_is_that_of_drawn_trials() -> None:
    drawn = np.random.default_rng(5).normal(0.0, 0.2, (20_000, 50)).max(axis=1)
    assert expected_maximum_sharpe(50, 0.04) == pytest.approx(drawn.mean(), rel=0.015)
    assert expected_maximum_sharpe(1, 0.04) == 0.0


def test_one_trial_is_not_deflated_and_more_trials_deflate_more() -> None:
    returns = sample(0.06, 1250)
    found = [deflated_sharpe(returns, trials) for trials in (1, 2, 10, 100, 1000)]
    assert found[0] == probabilistic_sharpe(returns)
    assert found == sorted(found, reverse=True)
    assert found[0] > CONFIDENCE > found[3]


def test_trials_that_resemble_each_other_deflate_no_less_than_independent_ones() -> None:
    returns = sample(0.06, 1250)
    alike, apart = [0.06, 0.0601, 0.0599], [-0.2, 0.06, 0.25]
    assert deflated_sharpe(returns, 20, alike) == deflated_sharpe(returns, 20)
    assert deflated_sharpe(returns, 20, apart) < deflated_sharpe(returns, 20)


def test_a_track_record_of_the_minimum_length_is_just_significant() -> None:
    returns = with_moments(0.1, -0.5, 6.0, 200_000)
    bars = minimum_track_record(returns)
    error = error_of_sharpe(returns) * math.sqrt((len(returns) - 1) / (bars - 1))
    assert norm.cdf(sharpe_of(returns) / error) == pytest.approx(CONFIDENCE, abs=1e-9)
    assert minimum_track_record(sample(-0.1, 500)) == math.inf


@pytest.mark.parametrize("returns", [np.zeros(100), np.full(100, 0.01), np.array([0.01, 0.02])])
def test_without_variation_or_with_few_bars_nothing_is_claimed(returns: np.ndarray) -> None:
    assert math.isnan(probabilistic_sharpe(returns))
    assert math.isnan(deflated_sharpe(returns, 5))


def plain_overfitting(returns: np.ndarray, blocks: int) -> float:
    """The definition, in loops."""
    parts = np.split(returns, blocks)
    below = []
    for half in combinations(range(blocks), blocks // 2):
        inside = np.concatenate([parts[one] for one in half])
        outside = np.concatenate([parts[one] for one in range(blocks) if one not in half])
        best = int(np.argmax([sharpe_of(column) for column in inside.T]))
        ratios = np.array([sharpe_of(column) for column in outside.T])
        rank = (ratios < ratios[best]).sum() + 1
        share = rank / (len(ratios) + 1)
        below.append(math.log(share / (1 - share)) <= 0)
    return float(np.mean(below))


@pytest.mark.parametrize("seed", range(5))
def test_overfitting_agrees_with_its_definition_in_loops(seed: int) -> None:
    rng = np.random.default_rng(seed)
    returns = rng.normal(0.0, 0.01, (240, 7)) + rng.normal(0.0, 0.001, 7)
    expected = plain_overfitting(returns, 8)
    assert overfitting_probability(returns, 8) == pytest.approx(expected, abs=1e-12)


def test_a_trial_with_skill_is_not_overfitted_and_noise_is_half_the_time() -> None:
    rng = np.random.default_rng(11)
    noise = rng.normal(0.0, 0.01, (1600, 20))
    assert 0.2 < overfitting_probability(noise) < 0.8
    noise[:, 3] += 0.002
    assert overfitting_probability(noise) < 0.05
    assert math.isnan(overfitting_probability(noise[:, :1]))


def test_of_a_thousand_noise_strategies_at_most_one_in_twenty_is_called_significant() -> None:
    rng = np.random.default_rng(2026)
    strategies = rng.standard_t(5.0, (1000, 1260)) * 0.01
    called = sum(deflated_sharpe(row, len(strategies)) > CONFIDENCE for row in strategies)
    plain = sum(ttest_1samp(row, 0.0, alternative="greater").pvalue < 0.05 for row in strategies)
    assert called == 0
    assert 30 <= plain <= 70


def test_the_better_of_two_trials_is_above_their_median() -> None:
    noise = np.random.default_rng(2).normal(0.0, 0.01, (320, 1))
    assert overfitting_probability(np.hstack([noise + 0.01, noise])) == 0.0


def test_the_deviation_of_a_sharpe_ratio_is_that_of_a_sample() -> None:
    """Mean 2, squared deviations 1 + 1 over n - 1 = 1."""
    assert sharpe_of(np.array([1.0, 3.0])) == pytest.approx(2 / math.sqrt(2), rel=1e-15)
