"""The built-in machine learning modules."""

from __future__ import annotations

import numpy as np
import pytest

from prefect_instances.libs.definitions.ml_module import MLModule, Sample
from prefect_instances.libs.plugins.ml_modules import GradientBoostingModule, RidgeModule


def sample(rows: int = 400) -> Sample:
    generator = np.random.default_rng(3)
    features = generator.normal(size=(rows, 3))
    target = 2.0 * features[:, 1] + 0.1 * generator.normal(size=rows)
    return Sample(("a", "b", "c"), features, target)


MODULES = pytest.mark.parametrize(
    "module", [RidgeModule(), GradientBoostingModule()], ids=lambda module: module.name
)


@MODULES
def test_it_learns_what_matters_and_says_so(module: MLModule) -> None:
    learned = sample()
    model = module.train(learned)
    importance = module.importance(model, learned)
    assert max(importance, key=lambda name: importance[name]) == "b"
    fresh = np.random.default_rng(4).normal(size=(100, 3))
    assert module.monitor(module.predict(model, fresh), 2.0 * fresh[:, 1])["ic"] > 0.9


@MODULES
def test_the_same_sample_gives_the_same_predictions_bit_for_bit(module: MLModule) -> None:
    learned = sample()
    first, second = (module.predict(module.train(learned), learned.features) for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_ridge_solves_its_normal_equations() -> None:
    learned = sample()
    scaled = (learned.features - learned.features.mean(0)) / learned.features.std(0)
    centred = learned.target - learned.target.mean()
    expected = np.linalg.solve(scaled.T @ scaled + 10.0 * np.eye(3), scaled.T @ centred)
    module = RidgeModule({"alpha": 10.0})
    importance = module.importance(module.train(learned), learned)
    assert list(importance.values()) == pytest.approx(np.abs(expected))


def test_the_measures_are_those_of_a_hand_computed_case() -> None:
    predicted, realised = np.array([1.0, 2.0, -3.0]), np.array([2.0, 1.0, -1.0])
    measures = RidgeModule().monitor(predicted, realised)
    assert measures["ic"] == pytest.approx(0.5)
    assert measures["hit_rate"] == 1.0
    assert measures["rmse"] == pytest.approx(np.sqrt(2.0))
    assert measures["r2"] == pytest.approx(1 - 6 / (14 / 3))


def test_a_constant_prediction_has_no_rank_correlation() -> None:
    assert RidgeModule().monitor(np.ones(3), np.array([1.0, 2.0, 3.0]))["ic"] == 0.0


@MODULES
def test_a_prediction_has_the_same_bits_whatever_rows_follow(module: MLModule) -> None:
    rng = np.random.default_rng(5)
    features = np.asfortranarray(rng.normal(size=(500, 2)))
    model = module.train(Sample(("x", "y"), features, features @ [0.5, -0.2]))
    whole = module.predict(model, features)
    for count in range(60):
        assert module.predict(model, features[:count]).tobytes() == whole[:count].tobytes()
    assert whole == pytest.approx(model.predict(features), abs=1e-12)
