"""Folds of history: where each model is trained and tested, and what its tests show.

The folds are those of scikit-learn (expanding, rolling) and skfolio (combinatorial purged). Of each
training part the rows are dropped whose label overlaps with a label of the test part.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Any

from prefect_instances.libs.core.errors import DataRejected
from prefect_instances.libs.definitions.ml_module import MLModule, Sample
from prefect_instances.libs.services.procedures.features import (
    LABEL_END,
    MIN_ROWS,
    TARGET,
    Split,
    split_purged,
)
from prefect_instances.libs.services.rendering.formatting import format_value
from prefect_instances.libs.specs import SplitSpec

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from numpy.typing import NDArray

    Indices = NDArray[np.int64]

COMBINATORIAL = "combinatorial"


@dataclass(frozen=True)
class ScoredFold:
    """A fold with the model of its training part, its predictions of the test part, and scores."""

    split: Split
    model: Any
    predicted: NDArray[np.float64]
    scores: dict[str, float]


def split_folds(rows: pl.DataFrame, split: SplitSpec, horizon: int) -> list[Split]:
    """Split (date, symbol, label_end, ...) into folds, in the order of their tests.

    ``horizon``: of the labels, in sessions. Raises DataRejected if history is too short.
    """
    if split.method == "single":
        return [split_purged(rows, split.validation, split.embargo)]
    dates = rows["date"].unique().sort().to_list()
    try:
        pairs = list(_list_positions(len(dates), split, horizon))
    except ValueError as error:
        raise DataRejected(
            f"{len(dates)} sessions are too few for {split.folds} folds: {error}"
        ) from error
    return [
        purge_rows(rows, [dates[at] for at in train], [[dates[at] for at in one] for one in tests])
        for train, tests in pairs
    ]


def split_for_publication(rows: pl.DataFrame, split: SplitSpec, folds: Sequence[Split]) -> Split:
    """Return the split of the model that is published: the newest fold.

    Combinatorial folds are not in order of time; their model is trained as with ``single``.
    """
    if split.method == COMBINATORIAL:
        return split_purged(rows, split.validation, split.embargo)
    return folds[-1]


def purge_rows(rows: pl.DataFrame, train: Sequence[date], tests: Sequence[Sequence[date]]) -> Split:
    """Return the rows of these dates; of the training part, none whose label overlaps a test's.

    ``tests`` are blocks of consecutive sessions. A label lasts from its date to its end (López de
    Prado 2018, 7.4.1).
    """
    import polars as pl

    learned = rows.filter(pl.col("date").is_in(list(train)))
    for block in tests:
        tested = rows.filter(pl.col("date").is_in(list(block)))
        end = tested[LABEL_END].max()
        learned = learned.filter((pl.col(LABEL_END) < block[0]) | (pl.col("date") > end))
    judged = [day for block in tests for day in block]
    return Split(learned, rows.filter(pl.col("date").is_in(judged)))


def score_fold(module: MLModule, names: Sequence[str], split: Split) -> ScoredFold:
    """Train on the training part, and score the predictions of the test part.

    Raises DataRejected if a part is too small.
    """
    if min(split.training.height, split.validation.height) < MIN_ROWS:
        raise DataRejected(
            f"{split.training.height} training rows and {split.validation.height} validation rows "
            f"are too few (at least {MIN_ROWS} each): use more history, fewer lags or fewer folds"
        )
    model = module.train(take_sample(names, split))
    predicted = module.predict(model, split.validation.select(names).to_numpy())
    scores = dict(module.monitor(predicted, split.validation[TARGET].to_numpy()))
    return ScoredFold(split, model, predicted, scores)


def take_sample(names: Sequence[str], split: Split) -> Sample:
    """Take features and targets of the training part."""
    features = split.training.select(names).to_numpy()
    return Sample(tuple(names), features, split.training[TARGET].to_numpy())


def select_forward_folds(
    split: SplitSpec, folds: Sequence[ScoredFold], published: ScoredFold
) -> Sequence[ScoredFold]:
    """Select the folds whose models learned only from data before their tests, in order of time.

    Combinatorial folds also learn from later data; only the published model is left then.
    """
    return [published] if split.method == COMBINATORIAL else folds


def mean_scores(scores: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """Return the mean of each score over folds; NaN where a fold has none."""
    return {name: math.fsum(one[name] for one in scores) / len(scores) for name in scores[0]}


def compare_models(
    module: MLModule, names: Sequence[str], folds: Sequence[ScoredFold], other: Any, since: date
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean scores of the folds' models and of another one, on the same test rows.

    These are the rows from ``since`` on, where the other model was trained on earlier data only.
    ``folds``: those of ``select_forward_folds``. One with too few such rows is left out; without
    any other, the newest fold counts as it is.
    """
    ours, theirs = [], []
    for begin, compared in ((since, folds), (date.min, folds[-1:])):
        for fold in compared:
            rows = fold.split.validation
            late = (rows["date"] >= begin).to_numpy()
            if late.sum() < MIN_ROWS:
                continue
            realised = rows[TARGET].to_numpy()[late]
            predicted = module.predict(other, rows.select(names).to_numpy()[late])
            ours.append(module.monitor(fold.predicted[late], realised))
            theirs.append(module.monitor(predicted, realised))
        if ours:
            break
    return mean_scores(ours), mean_scores(theirs)


def predict_earlier(
    module: MLModule, names: Sequence[str], folds: Sequence[ScoredFold], known: pl.DataFrame
) -> pl.DataFrame:
    """Predict the test dates of all folds but the newest: (date, symbol, prediction).

    Each date is predicted by the model of its own fold, which was trained on earlier data only.
    ``folds`` are in order of time; ``known`` holds the features of all rows.
    """
    import polars as pl

    frames = [pl.DataFrame(schema={"date": pl.Date, "symbol": pl.String, "prediction": pl.Float64})]
    for fold, following in itertools.pairwise(folds):
        begin, end = fold.split.predict_from, following.split.predict_from
        rows = known.filter((pl.col("date") >= begin) & (pl.col("date") < end))
        predicted = module.predict(fold.model, rows.select(names).to_numpy())
        made = rows.select("date", "symbol", pl.Series("prediction", predicted))
        frames.append(made)
    return pl.concat(frames)


def tabulate_folds(folds: Sequence[ScoredFold]) -> list[dict[str, object]]:
    """List for each fold its number, the dates of its test, its numbers of rows, and its scores."""
    return [
        {
            "fold": at + 1,
            "first": str(fold.split.validation["date"].min()),
            "last": str(fold.split.validation["date"].max()),
            "training_rows": fold.split.training.height,
            "test_rows": fold.split.validation.height,
            **fold.scores,
        }
        for at, fold in enumerate(folds)
    ]


def describe_folds(rows: Sequence[Mapping[str, object]]) -> list[str]:
    """Write the rows of ``tabulate_folds`` as lines of a Markdown table."""
    head = " | ".join(name.replace("_", " ") for name in rows[0])
    lines = [f"| {head} |", f"|{'---:|' * len(rows[0])}"]
    cells = (" | ".join(format_value(value) for value in row.values()) for row in rows)
    return ["### Folds", "", *lines, *(f"| {row} |" for row in cells)]


def _list_positions(
    count: int, split: SplitSpec, horizon: int
) -> Iterable[tuple[Indices, list[Indices]]]:
    """Yield the positions of the training sessions and of the blocks of test sessions."""
    import numpy as np

    sessions = np.empty((count, 1))
    if split.method == COMBINATORIAL:
        from skfolio.model_selection import CombinatorialPurgedCV

        purged = CombinatorialPurgedCV(split.folds, split.test_folds, horizon, split.embargo)
        yield from purged.split(sessions)
        return
    from sklearn.model_selection import TimeSeriesSplit

    tested = max(1, round(count * split.validation / split.folds))
    first = max(1, count - tested * split.folds - split.embargo)
    longest = (split.window or first) if split.method == "rolling" else None
    forward = TimeSeriesSplit(
        split.folds, test_size=tested, gap=split.embargo, max_train_size=longest
    )
    for train, test in forward.split(sessions):
        yield train, [test]
