"""Machine learning modules: what a model learns from features, predicts, and is judged by."""

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


@dataclass(frozen=True, slots=True)
class Sample:
    """What a model learns from: rows in order of date, then symbol.

    ``features``: rows x features, finite; ``target``: the return that followed each row, finite.
    """

    names: tuple[str, ...]
    features: Floats
    target: Floats


class MLModule(Definition):
    """Base of the definitions that learn. Experiment tracking and reports are not their concern.

    A fitted model is an estimator in the manner of scikit-learn: it can be pickled and has
    ``predict``. Fitting twice on equal samples must give models that predict bit for bit the same.
    """

    kind: ClassVar[DefinitionKind] = DefinitionKind.ML_MODULE
    requirements: ClassVar[Sequence[str]] = ("scikit-learn", "numpy")
    """The distributions that a loaded model needs; their installed versions are recorded."""

    @abstractmethod
    def train(self, sample: Sample) -> Any:
        """The model fitted to ``sample``."""

    def predict(self, model: Any, features: Floats) -> Floats:
        """What the model expects for each row of ``features`` (rows x features)."""
        import numpy as np

        return np.asarray(model.predict(features), dtype=np.float64)

    def monitor(self, predicted: Floats, realised: Floats) -> Mapping[str, float]:
        """How predictions compare with what happened, as named numbers.

        ``ic`` is Spearman's rank correlation, ``hit_rate`` the share of equal signs, ``rmse`` the
        root of the mean squared error, ``r2`` the share of the variance that is explained.
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
        """How much each feature matters to the model; empty where that is not known."""
        del model, sample
        return {}


def _rank_correlation(one: Floats, other: Floats) -> float:
    import numpy as np
    from scipy.stats import rankdata

    ranks = [rankdata(values) for values in (one, other)]
    if any(rank.std() == 0 for rank in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])
