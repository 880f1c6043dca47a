"""Folds of a model: no training row knows of its test, and dates are predicted from before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.plugins.ml_modules import RidgeModule
from prefect_instances.libs.services.procedures.features import LABEL_END, TARGET, Split
from prefect_instances.libs.services.procedures.walk_forward import (
    ScoredFold,
    compare_models,
    mean_scores,
    predict_earlier,
    purge_rows,
    score_fold,
    select_forward_folds,
    split_folds,
    split_for_publication,
    tabulate_folds,
)
from prefect_instances.libs.specs import SplitSpec

MONDAY = date(2024, 1, 1)


def rows(days: int, horizon: int = 5, symbols: str = "AB") -> pl.DataFrame:
    """A feature that is half of what follows, on every day; the label ends ``horizon`` days on."""
    drawn = np.random.default_rng(3).normal(size=(days, len(symbols)))
    noise = np.random.default_rng(4).normal(size=(days, len(symbols)))
    return pl.DataFrame(
        [
            (
                MONDAY + timedelta(days=day), symbol, drawn[day, at],
                drawn[day, at] + noise[day, at], MONDAY + timedelta(days=day + horizon),
            )
            for day in range(days)
            for at, symbol in enumerate(symbols)
        ],
        schema=["date", "symbol", "x", TARGET, LABEL_END],
        orient="row",
    )  # fmt: skip


def numbers(frame: pl.DataFrame) -> list[int]:
    return [(day - MONDAY).days for day in frame["date"].unique().sort()]


def spans(folds: Sequence[Split]) -> list[tuple[int, int, int, int]]:
    """The first and last day of training and test of each fold."""
    found = []
    for fold in folds:
        train, test = numbers(fold.training), numbers(fold.validation)
        found.append((train[0], train[-1], test[0], test[-1]))
    return found


def test_expanding_folds_share_the_validation_and_begin_with_all_before() -> None:
    folds = split_folds(rows(100), SplitSpec(method="expanding", validation=0.4, folds=4), 5)
    # Labels of the 5 days before each test end in it.
    assert spans(folds) == [(0, 54, 60, 69), (0, 64, 70, 79), (0, 74, 80, 89), (0, 84, 90, 99)]
    wide = split_folds(
        rows(100), SplitSpec(method="expanding", validation=0.4, folds=4, embargo=8), 5
    )
    assert [one[1] for one in spans(wide)] == [51, 61, 71, 81]


def test_rolling_folds_have_a_window_of_the_same_length() -> None:
    split = SplitSpec(method="rolling", validation=0.4, folds=4, window=30)
    folds = split_folds(rows(100), split, 5)
    assert spans(folds) == [(30, 54, 60, 69), (40, 64, 70, 79), (50, 74, 80, 89), (60, 84, 90, 99)]
    as_before = split_folds(rows(100), SplitSpec(method="rolling", validation=0.4, folds=4), 5)
    assert spans(as_before)[3] == (30, 84, 90, 99)


def test_combinatorial_folds_test_each_pair_of_blocks_and_keep_away_from_both_sides() -> None:
    split = SplitSpec(method="combinatorial", folds=4, test_folds=2, embargo=3)
    known = rows(100)
    folds = split_folds(known, split, 5)
    assert len(folds) == 6
    first = folds[0]
    assert numbers(first.validation) == [*range(50)]
    assert numbers(first.training) == [*range(58, 100)]  # 5 sessions of the horizon, 3 of embargo
    inner = folds[2]
    assert numbers(inner.validation) == [*range(25), *range(75, 100)]
    assert numbers(inner.training) == [*range(33, 70)]
    published = split_for_publication(known, split, folds)
    assert (published.predict_from - MONDAY).days == 80


@given(
    st.sampled_from(["expanding", "rolling", "combinatorial"]),
    st.dictionaries(
        st.sampled_from("ABCD"),
        st.sets(st.integers(0, 90), min_size=40, max_size=80).map(sorted),
        min_size=1,
    ),
    st.integers(1, 6),
    st.integers(0, 4),
)
def test_no_label_of_a_training_overlaps_one_of_its_test(
    method: Any, days: dict[str, list[int]], horizon: int, embargo: int
) -> None:
    known = pl.DataFrame(
        [
            (MONDAY + timedelta(days=one), symbol, MONDAY + timedelta(days=end))
            for symbol, own in days.items()
            for one, end in zip(own, own[horizon:], strict=False)
        ],
        schema=["date", "symbol", LABEL_END],
        orient="row",
    )
    split = SplitSpec(method=method, folds=4, embargo=embargo, validation=0.5)
    try:
        folds = split_folds(known, split, horizon)
    except DataRejected:
        return
    for fold in folds:
        train, test = fold.training.unique(["date", LABEL_END]), fold.validation
        pairs = train.join(test.unique(["date", LABEL_END]), how="cross", suffix="_test")
        meets = (pl.col("date") <= pl.col(f"{LABEL_END}_test")) & (
            pl.col(LABEL_END) >= pl.col("date_test")
        )
        assert pairs.filter(meets).is_empty()
        if method != "combinatorial":
            assert train.filter(pl.col("date") >= fold.predict_from).is_empty()


def test_a_training_row_between_two_tests_is_dropped_only_if_it_meets_one() -> None:
    known = rows(30)
    days = [MONDAY + timedelta(days=day) for day in range(30)]
    made = purge_rows(known, days[8:20], [days[:8], days[20:]])
    assert numbers(made.training) == [13, 14]


def test_too_little_history_is_told_in_one_line() -> None:
    for method in ("expanding", "combinatorial"):
        split = SplitSpec.model_validate({"method": method, "folds": 12, "validation": 0.9})
        with pytest.raises(DataRejected, match="8 sessions are too few for 12 folds"):
            split_folds(rows(8), split, 5)
    (only,) = split_folds(rows(40), SplitSpec(), 5)
    with pytest.raises(DataRejected, match="at least 30 each"):
        score_fold(RidgeModule(), ["x"], only)


def scored(days: int = 400) -> tuple[pl.DataFrame, list[ScoredFold]]:
    known = rows(days)
    folds = split_folds(known, SplitSpec(method="expanding", validation=0.5, folds=4), 5)
    return known, [score_fold(RidgeModule(), ["x"], fold) for fold in folds]


def test_the_scores_are_those_of_a_model_of_each_fold_and_their_mean() -> None:
    _, folds = scored()
    x, y = (folds[1].split.training[name].to_numpy() for name in ("x", TARGET))
    z = (x - x.mean()) / x.std()
    slope = (z @ (y - y.mean())) / (z @ z + 1.0)
    tested = folds[1].split.validation
    expected = y.mean() + slope * (tested["x"].to_numpy() - x.mean()) / x.std()
    assert folds[1].predicted == pytest.approx(expected, abs=1e-12)
    rmse = float(np.sqrt(np.mean((tested[TARGET].to_numpy() - expected) ** 2)))
    assert folds[1].scores["rmse"] == pytest.approx(rmse)
    mean = mean_scores([fold.scores for fold in folds])
    assert mean["ic"] == pytest.approx(np.mean([fold.scores["ic"] for fold in folds]))
    table = tabulate_folds(folds)
    assert [row["fold"] for row in table] == [1, 2, 3, 4]
    assert table[1]["test_rows"] == 100


def test_models_are_compared_only_where_the_other_was_not_trained() -> None:
    _, folds = scored()
    module, names = RidgeModule(), ["x"]
    since = folds[2].split.predict_from
    ours, theirs = compare_models(module, names, folds, folds[2].model, since)
    assert ours == pytest.approx(mean_scores([folds[2].scores, folds[3].scores]))
    assert theirs["rmse"] != ours["rmse"]
    late = since + timedelta(days=500)
    ours, theirs = compare_models(module, names, folds, folds[3].model, late)
    assert ours == theirs == pytest.approx(folds[3].scores)


@pytest.mark.parametrize(
    ("method", "count"), [("single", 1), ("expanding", 4), ("rolling", 4), ("combinatorial", 1)]
)
def test_no_model_that_is_compared_or_predicts_the_past_has_learned_from_later_data(
    method: str, count: int
) -> None:
    known, module = rows(300), RidgeModule()
    split = SplitSpec.model_validate({"method": method, "folds": 4, "validation": 0.5})
    splits = split_folds(known, split, 5)
    scored_folds = [score_fold(module, ["x"], one) for one in splits]
    published = score_fold(module, ["x"], split_for_publication(known, split, splits))
    compared = select_forward_folds(split, scored_folds, published)
    assert len(compared) == count
    for fold in compared:
        assert fold.split.training[LABEL_END].max() < fold.split.predict_from
    days = predict_earlier(module, ["x"], compared, known).height
    assert days == 2 * (compared[-1].split.predict_from - compared[0].split.predict_from).days


def test_earlier_dates_are_predicted_by_the_model_of_their_own_fold() -> None:
    known, folds = scored()
    made = predict_earlier(RidgeModule(), ["x"], folds, known)
    assert numbers(made) == [*range(200, 350)]
    assert made["prediction"].to_numpy() == pytest.approx(
        np.concatenate([fold.predicted for fold in folds[:3]])
    )
    assert predict_earlier(RidgeModule(), ["x"], folds[:1], known).is_empty()


@pytest.mark.parametrize(
    ("split", "path"),
    [
        ({"method": "walk"}, "method"),
        ({"method": "expanding", "window": 20}, "window"),
        ({"method": "combinatorial", "folds": 2}, "test_folds"),
        ({"method": "combinatorial", "folds": 30, "test_folds": 3}, "folds"),
        ({"method": "rolling", "folds": 1}, "folds"),
        ({"test_folds": 1}, "test_folds"),
    ],
)
def test_what_makes_no_folds_is_refused_at_its_path(split: dict[str, Any], path: str) -> None:
    with pytest.raises(ValidationError) as caught:
        SplitSpec.model_validate(split)
    assert [error["loc"] for error in caught.value.errors()] == [(path,)]
