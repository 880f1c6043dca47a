"""The MLflow adapter over a real embedded store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from libs.adapters.mlflow import CHAMPION, LoggedInput, Tracking, Training
from libs.core.errors import PermanentError


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    tracking = Tracking(tmp_path_factory.mktemp("mlflow"))
    tracking.prepare()
    return tracking


def training(**tags: str) -> Training:
    from sklearn.linear_model import Ridge

    example = pd.DataFrame({"a": [0.0, 1.0, 2.0], "b": [1.0, 0.0, 1.0]})
    model: Any = Ridge(alpha=0.1).fit(example.to_numpy(), np.array([0.0, 1.0, 2.0]))
    return Training(
        run_name="first",
        parameters={"alpha": 0.1, "long": "x" * 900},
        metrics={"ic": 0.25},
        inputs=[LoggedInput("prices", "prices", "3 (id)", "d" * 64, "table.v3")],
        model=model,
        example=example,
        requirements=("scikit-learn",),
        tags=tags,
    )


def test_a_run_keeps_what_was_logged_and_its_model_predicts_the_same(store: Tracking) -> None:
    experiment = store.ensure_experiment("p/m 1")
    logged = training(instance="i")
    run_id = store.log(experiment, logged)
    run = store.client.get_run(run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params["alpha"] == "0.1"
    assert run.data.metrics == {"ic": 0.25}
    assert run.data.tags["instances.instance"] == "i"
    (item,) = run.inputs.dataset_inputs
    assert (item.dataset.name, item.dataset.digest) == ("prices", "d" * 32)
    assert {tag.key: tag.value for tag in item.tags}["instances.version"] == "3 (id)"

    version = store.register("p.m.1", run_id, {"predict_from": "2024-01-01"})
    loaded = store.load("p.m.1", version)
    assert loaded.tags == {"predict_from": "2024-01-01"}
    values = logged.example.to_numpy()
    assert (loaded.model.predict(values) == logged.model.predict(values)).all()
    needed = Path(store.folder / "artifacts").rglob("requirements.txt")
    assert all("scikit-learn==" in path.read_text() for path in needed)


def test_an_experiment_is_made_once_and_comes_back_after_it_was_deleted(store: Tracking) -> None:
    one = store.ensure_experiment("p/again 2")
    assert store.ensure_experiment("p/again 2") == one
    store.delete_experiment(one, purge=False)
    assert not store.has_experiment(one)
    assert store.ensure_experiment("p/again 2") == one
    assert store.has_experiment(one)


def test_aliases_point_where_they_were_put_and_tell_by_whom(store: Tracking) -> None:
    run_id = store.log(store.ensure_experiment("p/alias 3"), training())
    first, second = (store.register("p.alias.3", run_id, {}) for _ in range(2))
    assert (first, second) == (1, 2)
    assert store.version_of("p.alias.3", CHAMPION) is None
    assert store.version_of("p.nobody", CHAMPION) is None
    store.promote("p.alias.3", CHAMPION, first)
    store.set_alias("p.alias.3", CHAMPION, second)
    assert store.version_of("p.alias.3", CHAMPION) == second
    assert CHAMPION in store.tags_of("p.alias.3", first)
    assert CHAMPION not in store.tags_of("p.alias.3", second)


def test_a_purge_leaves_neither_rows_nor_files(store: Tracking) -> None:
    experiment = store.ensure_experiment("p/gone 4")
    store.register("p.gone.4", store.log(experiment, training()), {})
    files = store.folder / "artifacts" / "4"
    assert list(files.rglob("MLmodel"))
    store.delete_model("p.gone.4")
    store.delete_experiment(experiment, purge=True)
    assert not store.has_experiment(experiment)
    assert store.client.search_model_versions("name = 'p.gone.4'") == []
    assert not files.exists()
    store.delete_model("p.gone.4")
    store.delete_experiment(experiment, purge=True)
    assert store.client.search_runs([store.ensure_experiment("p/gone 4")]) == []


def test_what_mlflow_refuses_is_an_error_of_ours(store: Tracking) -> None:
    with pytest.raises(PermanentError):
        store.load("p.nobody", 1)
    assert store.run_page("7", "abc") == "experiment 7, run `abc`"
    server = Tracking(store.folder, "http://mlflow:5000")
    assert "http://mlflow:5000/#/experiments/7/runs/abc" in server.run_page("7", "abc")
