"""What counts as a trial, and what a page says about it."""

from __future__ import annotations

import math
from uuid import UUID

import pytest

from prefect_instances.libs.db.repositories.trials import TrialRun
from prefect_instances.libs.services.procedures.trials import count_trials, describe_trials

OWN, OTHER, MODEL = UUID(int=1), UUID(int=2), UUID(int=3)
TESTED = {"sharpe": 1.6, "bars_per_year": 256.0}


def test_the_configuration_that_runs_is_the_first_trial() -> None:
    assert count_trials([], OWN, 1).count == 1
    again = TrialRun(OWN, "backtest", 1, TESTED)
    assert count_trials([again, again], OWN, 1).count == 1


def test_each_configuration_counts_once_and_each_point_of_a_sweep() -> None:
    runs = [
        TrialRun(OWN, "backtest", 1, TESTED),
        TrialRun(OTHER, "backtest", 1, {**TESTED, "sharpe": 0.8}),
        TrialRun(OTHER, "backtest", 1, {**TESTED, "sharpe": 3.2}),
        TrialRun(MODEL, "training", 4, {}),
        TrialRun(MODEL, "preview", 4, {"points": 12}),
    ]
    found = count_trials(runs, OWN, 2)
    assert found.count == 1 + 1 + 1 + 1 + 12
    assert sorted(found.sharpes) == pytest.approx([0.1, 0.2])
    assert found.backtests == (OTHER,)


@pytest.mark.parametrize("metrics", [{}, {"sharpe": 1.0}, {"sharpe": "?", "bars_per_year": 252}])
def test_a_backtest_without_a_sharpe_ratio_is_a_trial_all_the_same(
    metrics: dict[str, object],
) -> None:
    found = count_trials([TrialRun(OTHER, "backtest", 1, metrics)], OWN, 1)
    assert (found.count, found.sharpes) == (2, ())


def test_a_page_says_how_many_trials_there_were_and_what_they_leave() -> None:
    text = describe_trials({"trials": 12.0, "deflated_sharpe": 0.4142, "sharpe": math.pi})
    assert "12 trials" in text
    assert "41.4%" in text
    assert "3.14" not in text
    assert describe_trials({"sharpe": 1.0}) == ""
