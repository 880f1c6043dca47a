"""Machine learning modules: training, prediction and monitoring of a model."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from prefect_instances.libs.definitions.base import Definition, DefinitionKind

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]


BLOCK = 4096
"""Rows that a model predicts at once; the last block is filled up with its last row."""


@dataclass(frozen=True, slots=True)
class Sample:
    """Training data of a model: rows in order of date, then symbol.

    ``features``: rows x features, finite; ``target``: the return that followed each row, finite.
    """

    names: tuple[str, ...]
    features: Floats
    target: Floats


class MLModule(Definition):
    """Base of the definitions that train models; they do no experiment tracking or reporting.

    A fitted model is a scikit-learn style estimator: it can be pickled and has ``predict``. Fitting
    twice on equal samples must give models with bit-for-bit equal predictions.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.ML_MODULE
    requirements: ClassVar[Sequence[str]] = ("scikit-learn", "numpy")
    """Distributions that a loaded model depends on; their installed versions are recorded."""

    @abstractmethod
    def train(self, sample: Sample) -> Any:
        """Return a model fitted to ``sample``."""

    def predict(self, model: Any, features: Floats) -> Floats:
        """Return the model's prediction for each row of ``features`` (rows x features).

        A prediction may depend on its own row only. The model gets the rows in blocks of one size,
        because the last bits of a matrix product depend on how many rows there are.
        """
        import numpy as np

        count, width = features.shape
        if not count:
            return np.empty(0)
        filled = np.pad(features, ((0, -count % BLOCK), (0, 0)), mode="edge")
        blocks = np.ascontiguousarray(filled).reshape(-1, BLOCK, width)
        predicted = np.concatenate([np.asarray(model.predict(block)) for block in blocks])
        return predicted[:count].astype(np.float64)

    def monitor(self, predicted: Floats, realised: Floats) -> Mapping[str, float]:
        """Compare predictions with realised values; return the metrics by name.

        ``ic`` is Spearman's rank correlation, ``hit_rate`` the share of equal signs, ``rmse`` the
        root mean squared error, ``r2`` the share of the variance that is explained.
        """
        import numpy as np

        error = realised - predicted
        spread = float(np.sum((realised - realised.mean()) ** 2))
        return {
            "ic": _rank_correlation(predicted, realised),
            "hit_rate": float(np.mean(np.sign(predicted) == np.sign(realised))),
            "rmse": float(np.sqrt(np.mean(error**2))),
            "r2": 1.0 - float(np.sum(error**2)) / spread if spread else 0.0,
        }

    def importance(self, model: Any, sample: Sample) -> Mapping[str, float]:
        """Return the importance of each feature for the model; empty if it is not known."""
        del model, sample
        return {}


def _rank_correlation(one: Floats, other: Floats) -> float:
    import numpy as np
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (one, other)]
    if any(rank.std() == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
