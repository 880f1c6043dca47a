"""The MLflow adapter over a real embedded store, and over a real server."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from prefect_instances.libs.adapters.mlflow import (
    BLOCKED,
    CHAMPION,
    LoggedInput,
    MlflowPages,
    Tracking,
    Training,
)
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from tests.model_servers import GuardedServer, ModelServer, texts_of
from tests.prefect_server import free_port


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    tracking = Tracking(tmp_path_factory.mktemp("mlflow"))
    tracking.prepare()
    return tracking


@pytest.fixture(scope="module")
def served(mlflow_server: ModelServer, tmp_path_factory: pytest.TempPathFactory) -> Tracking:
    return Tracking(tmp_path_factory.mktemp("mlflow-client"), mlflow_server.url)


@pytest.fixture(params=["embedded", "served"])
def store(request: pytest.FixtureRequest) -> Tracking:
    """Whatever keeps the models, what is promised of it is the same."""
    tracking: Tracking = request.getfixturevalue(request.param)
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
    assert "scikit-learn==" in _read(store, run_id, "model/requirements.txt")
    assert list(store.folder.glob("artifacts")) == ([store.folder / "artifacts"] * store.embedded)


def _read(store: Tracking, run_id: str, path: str) -> str:
    return Path(store.client.download_artifacts(run_id, path)).read_text()


def test_an_experiment_is_made_once_and_comes_back_after_it_was_deleted(store: Tracking) -> None:
    one = store.ensure_experiment("p/again 2")
    assert store.ensure_experiment("p/again 2") == one
    store.delete_experiment(one, "p/again 2", purge=False)
    assert not store.has_experiment(one, "p/again 2")
    assert store.ensure_experiment("p/again 2") == one
    assert store.has_experiment(one, "p/again 2")


def test_an_id_that_is_somebody_elses_is_neither_ours_nor_deleted(store: Tracking) -> None:
    theirs = store.ensure_experiment("p/theirs 8")
    assert not store.has_experiment(theirs, "p/ours 8")
    store.delete_experiment(theirs, "p/ours 8", purge=True)
    store.client.rename_experiment(theirs, "as a person likes it")
    assert store.has_experiment(theirs, "p/theirs 8")


def test_aliases_point_where_they_were_put_and_tell_by_whom(store: Tracking) -> None:
    run_id = store.log(store.ensure_experiment("p/alias 3"), training())
    first, second = (store.register("p.alias.3", run_id, {}) for _ in range(2))
    assert (first, second) == (1, 2)
    assert store.find_version_by_alias("p.alias.3", CHAMPION) is None
    assert store.find_version_by_alias("p.nobody", CHAMPION) is None
    store.promote("p.alias.3", CHAMPION, first)
    store.set_alias("p.alias.3", CHAMPION, second)
    assert store.find_version_by_alias("p.alias.3", CHAMPION) == second
    assert CHAMPION in store.read_tags("p.alias.3", first)
    assert CHAMPION not in store.read_tags("p.alias.3", second)


def test_a_blocked_version_says_why_where_people_and_programs_look(store: Tracking) -> None:
    run_id = store.log(store.ensure_experiment("p/blocked 5"), training())
    version = store.register("p.blocked.5", run_id, {"predict_from": "2024-01-01"})
    store.block("p.blocked.5", version, "ml.validation: rmse is 0.2, above 0.1")
    assert (
        store.read_tags("p.blocked.5", version)[BLOCKED] == "ml.validation: rmse is 0.2, above 0.1"
    )
    seen = store.client.get_model_version("p.blocked.5", str(version))
    assert "rmse is 0.2" in seen.description
    assert store.find_version_by_alias("p.blocked.5", CHAMPION) is None


def test_a_purge_leaves_nothing_that_can_be_found_and_the_name_is_free(store: Tracking) -> None:
    experiment = store.ensure_experiment("p/gone 4")
    run_id = store.log(experiment, training())
    store.register("p.gone.4", run_id, {})
    for _ in range(2):  # Again after a crash, or by somebody who was quicker.
        store.delete_model("p.gone.4")
        store.delete_experiment(experiment, "p/gone 4", purge=True)
    assert not store.has_experiment(experiment, "p/gone 4")
    assert store.find_experiment("p/gone 4") is None
    assert store.client.search_model_versions("name = 'p.gone.4'") == []
    assert store.client.search_registered_models("name = 'p.gone.4'") == []
    assert store.client.search_runs([experiment]) == []
    again = store.ensure_experiment("p/gone 4")
    assert store.client.search_runs([again]) == []


def test_a_purge_of_an_embedded_store_leaves_neither_rows_nor_files(tmp_path: Path) -> None:
    store = Tracking(tmp_path)
    store.prepare()
    rows, files = _rows(tmp_path / "mlflow.db"), _files(tmp_path)
    experiment = store.ensure_experiment("p/gone 4")
    run_id, _ = (store.log(experiment, training(instance="i")) for _ in range(2))
    version = store.register("p.gone.4", run_id, {"a": "b"})
    store.promote("p.gone.4", CHAMPION, version)
    store.block("p.gone.4", version, "why")
    store.client.delete_run(run_id)
    assert _rows(tmp_path / "mlflow.db").keys() > rows.keys()

    store.delete_model("p.gone.4")
    store.delete_experiment(experiment, "p/gone 4", purge=True)

    assert _rows(tmp_path / "mlflow.db") == rows
    assert _files(tmp_path) == files


def _rows(database: Path) -> Mapping[str, int]:
    """How many rows each table of a database has, of those that have any."""
    with closing(sqlite3.connect(database)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        found = {
            name: connection.execute(f'SELECT count(*) FROM "{name}"').fetchone()[0]
            for (name,) in tables.fetchall()
        }
    return {name: count for name, count in found.items() if count}


def _files(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_purge_on_a_server_leaves_marked_rows_that_gc_removes(
    served: Tracking, mlflow_server: ModelServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    experiment = served.ensure_experiment("p/left 6")
    run_id = served.log(experiment, training())
    files = mlflow_server.folder / "artifacts" / experiment
    assert list(files.rglob("MLmodel"))

    served.delete_experiment(experiment, "p/left 6", purge=True)

    assert _files(files) == []
    assert served.client.get_run(run_id).info.lifecycle_stage == "deleted"
    assert served.client.get_experiment(experiment).name == "p/left 6 (purged)"
    from mlflow.cli import gc

    monkeypatch.setenv("MLFLOW_TRACKING_URI", served.url)
    backend = f"sqlite:///{mlflow_server.folder / 'mlflow.db'}"
    done = CliRunner().invoke(gc, ["--backend-store-uri", backend, "--experiment-ids", experiment])
    assert done.exit_code == 0, done.output
    with pytest.raises(Exception, match="No Experiment"):
        served.client.get_experiment(experiment)


def test_what_mlflow_refuses_is_an_error_of_ours(store: Tracking) -> None:
    with pytest.raises(PermanentError):
        store.load("p.nobody", 1)


def test_a_check_says_what_answers(embedded: Tracking, served: Tracking) -> None:
    assert embedded.check() == f"embedded, in {embedded.folder}"
    assert served.check().endswith(f" at {served.url}")


def test_a_password_in_the_address_reaches_the_server_and_no_text(
    guarded_server: GuardedServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("MLFLOW_TRACKING_USERNAME", "MLFLOW_TRACKING_PASSWORD"):
        monkeypatch.setenv(name, "")  # So that it is put back after the test.
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    let_in = Tracking(tmp_path, guarded_server.address("ann", "pl4nted"))
    with pytest.raises(PermanentError):
        let_in.has_experiment("1", "p/m 1")
    assert guarded_server.seen == {("ann", "pl4nted")}

    away = Tracking(tmp_path, f"http://ann:pl4nted@127.0.0.1:{free_port()}")
    for ask in (away.check, lambda: away.has_experiment("1", "p/m 1")):
        with pytest.raises(Unavailable) as caught:
            ask()
        assert "pl4nted" not in texts_of(caught.value)


def test_a_server_that_hands_its_own_paths_out_is_refused_at_once(
    served: Tracking, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    make, place = served.client.create_experiment, (tmp_path / "x").as_uri()
    monkeypatch.setattr(
        served.client, "create_experiment", lambda name, _, tags: make(name, place, tags=tags)
    )
    with pytest.raises(PermanentError, match="--serve-artifacts"):
        served.ensure_experiment("p/paths 7")
    assert served.find_experiment("p/paths 7") is None


def test_links_lead_to_pages_where_some_are_served() -> None:
    pages = MlflowPages("http://mlflow:5000")
    assert pages.run("7", "abc") == "http://mlflow:5000/#/experiments/7/runs/abc"
    assert pages.experiment("7") == "http://mlflow:5000/#/experiments/7"
    assert pages.model("p.m.1") == "http://mlflow:5000/#/models/p.m.1"
    assert MlflowPages("").run("7", "abc") == ""


def test_the_addresses_of_an_embedded_store_follow_its_folder(tmp_path: Path) -> None:
    before = Tracking(tmp_path / "before")
    experiment = before.ensure_experiment("p/m 5")
    run_id = before.log(experiment, training(predict_from="2024-01-01"))
    version = before.register("p.m.5", run_id, {"predict_from": "2024-01-01"})

    (tmp_path / "before").rename(tmp_path / "after there")
    after = Tracking(tmp_path / "after there")

    assert after.find_loss("p.m.5", version) == ""
    assert after.load("p.m.5", version).tags == {"predict_from": "2024-01-01"}
    again = after.log(experiment, training())
    assert after.register("p.m.5", again, {}) == version + 1
    assert after.find_loss("p.m.5", version + 1) == ""
    assert not (tmp_path / "before").exists()


def test_what_is_lost_of_a_model_version_is_told(store: Tracking) -> None:
    experiment = store.ensure_experiment("p/lost 6")
    version = store.register("p.lost.6", store.log(experiment, training()), {})

    whole = store.find_loss("p.lost.6", version)
    unknown = store.find_loss("p.lost.6", version + 1)

    assert whole == ""
    assert unknown == f"version {version + 1} of the registered model is not in MLflow"


def test_the_loss_of_the_files_of_a_model_version_is_told(embedded: Tracking) -> None:
    experiment = embedded.ensure_experiment("p/files 7")
    version = embedded.register("p.files.7", embedded.log(experiment, training()), {})
    shutil.rmtree(embedded.folder / "artifacts" / "7")

    assert f"the files of model version {version} are gone" in embedded.find_loss(
        "p.files.7", version
    )
