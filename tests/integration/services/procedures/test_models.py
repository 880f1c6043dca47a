"""Models end to end: real MLflow and Evidently stores, both databases."""

from __future__ import annotations

import shutil
from typing import Any
from uuid import UUID, uuid4

import pytest
from sqlalchemy import select

from prefect_instances.libs.adapters.mlflow import Tracking
from prefect_instances.libs.core.errors import Interrupted, NotFound, Unavailable
from prefect_instances.libs.core.ids import DRIFT_DETECTED
from prefect_instances.libs.core.status import Reason, RunStatus
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    OutboxEvent,
    RunRecord,
)
from prefect_instances.libs.db.repositories.versions import select_first_published
from prefect_instances.libs.services.composition.components import read_version
from prefect_instances.libs.services.composition.model_stores import (
    build_experiment_name,
    build_model_name,
    monitoring,
    read_model_row,
    tracking,
)
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.runs.rerun import rerun
from prefect_instances.libs.services.state.ledger import Ledger
from prefect_instances.libs.services.views.models import load_model
from prefect_instances.libs.services.views.run_reports import build_report
from tests.databases import on_both_databases
from tests.integration.bench import NEXT_DAY, Bench, derived, prices


def model(project: str, **more: Any) -> dict[str, Any]:
    return {
        "name": "m",
        "project": project,
        "type": "ModelInstance",
        "module": {"definition": "ridge"},
        "features": [{"role": "momentum", "column": "value", "lags": [0, 5]}],
        "upstream_refs": [
            {"resource": "prices", "role": "prices"},
            {"resource": "momentum", "role": "momentum"},
        ],
        "monitoring": {"reference_days": 20, "current_days": 15},
        **more,
    }


def provisioned(bench: Bench, project: str, **more: Any) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "momentum", "close / REF(close, 10) - 1", "prices"))
    bench.provision(model(project, **more))


def flow(bench: Bench, kind: str) -> FlowExecutionResource:
    with bench.services.database.read() as session:
        found = session.get_one(FlowExecutionResource, bench.flow_id("m", kind))
        session.expunge(found)
        return found


def newest(bench: Bench, kind: str) -> DatasetVersion:
    with bench.services.database.read() as session:
        found = session.get_one(DatasetVersion, flow(bench, kind).version_id)
        session.expunge(found)
        return found


@on_both_databases
def test_a_model_is_trained_predicts_is_watched_and_leaves_nothing(
    bench: Bench, project: str
) -> None:
    provisioned(bench, project)
    assert (
        read_model_row(bench.services, bench.instance_id("m")).mlflow_registered_model_name is None
    )
    ran = bench.drain()
    assert ran == ["prices", "momentum", "m.training", "m.inference", "m.monitoring"]
    assert {flow(bench, kind).status for kind in ("training", "inference", "monitoring")} == {
        "READY"
    }

    id_, store = bench.instance_id("m"), tracking(bench.services)
    row = read_model_row(bench.services, id_)
    name = build_model_name(project, "m", id_)
    assert row.mlflow_registered_model_name == name
    assert store.find_version_by_alias(name, "champion") == 1
    assert newest(bench, "training").location == f"models:/{name}/1"
    logged = store.client.search_runs([row.mlflow_experiment_id])
    assert len(logged) == 1
    assert {item.dataset.name for item in logged[0].inputs.dataset_inputs} == {"prices", "momentum"}
    predictions = read_version(bench.services, newest(bench, "inference").id).collect()
    assert predictions.columns == ["date", "symbol", "prediction", "model_version"]
    assert predictions["date"].min().isoformat() == store.read_tags(name, 1)["predict_from"]  # type: ignore[union-attr]
    assert len(monitoring(bench.services).list_reports(row.evidently_project_id or "")) == 1

    # New data: features, predictions and the watch follow; training waits for its schedule.
    bench.run("prices", as_of=NEXT_DAY)
    assert bench.drain() == ["momentum", "m.inference", "m.monitoring"]
    with bench.services.database.read() as session:
        runs = list(session.scalars(select(RunRecord.id).where(RunRecord.cause != "rerun")))
    compared = [rerun(bench.services, run_id, uuid4()) for run_id in runs]
    assert [again for again in compared if not again.identical] == []
    assert {again.kind: again.compared for again in compared} == {
        "refresh": "output",
        "training": "output",
        "inference": "output",
        "monitoring": "metrics",
    }

    # Trained again on the new day, by the person who asks.
    bench.run("m", "training")
    assert flow(bench, "training").status == "READY"

    home = bench.services.settings.home
    deprovision(bench.services, "m", purge=True)
    assert not monitoring(bench.services).has_project(row.evidently_project_id or "")
    assert not store.has_experiment(
        row.mlflow_experiment_id or "", build_experiment_name(project, "m", id_)
    )
    assert store.client.search_registered_models() == []
    assert store.client.search_model_versions() == []
    assert [e.name for e in store.client.search_experiments(view_type=3)] == ["Default"]
    left = [
        path
        for root in ("mlflow/artifacts", "evidently", "stores/outputs")
        for path in (home / root).rglob("*")
        if path.is_file()
    ]
    assert left == []


def test_drift_past_the_threshold_makes_the_training_due_once(bench: Bench, project: str) -> None:
    provisioned(
        bench,
        project,
        monitoring={
            "reference_days": 20,
            "current_days": 15,
            "on_drift": "retrain",
            "drift_threshold": 0.01,
        },
    )
    ran = bench.drain()
    # The second training learns the same, so the cascade ends with it.
    assert ran == ["prices", "momentum", "m.training", "m.inference", "m.monitoring", "m.training"]
    with bench.services.database.read() as session:
        events = list(
            session.scalars(select(OutboxEvent.payload).where(OutboxEvent.name == DRIFT_DETECTED))
        )
        causes = list(
            session.scalars(
                select(RunRecord.cause)
                .where(RunRecord.flow_id == bench.flow_id("m", "training"))
                .order_by(RunRecord.started_at)
            )
        )
    assert causes[-1] == "schedule"
    assert len(events) == 1
    assert flow(bench, "training").reason is Reason.RUN_SUCCEEDED
    assert flow(bench, "training").generation == 1


def test_a_hand_moved_alias_is_read_with_a_warning_and_a_later_training_is_not(
    bench: Bench, project: str
) -> None:
    provisioned(bench, project, promotion={"rule": "always"})
    with pytest.raises(NotFound, match="no training has published one yet"):
        load_model(bench.services, "m")
    bench.drain()
    id_, store = bench.instance_id("m"), tracking(bench.services)
    name = build_model_name(project, "m", id_)
    assert load_model(bench.services, "m").predict([[0.0, 0.0]]).shape == (1,)
    with pytest.raises(NotFound, match=r"'best' of .*/m, which has champion"):
        load_model(bench.services, "m", "best")
    drift = build_report(bench.services, "m", "monitoring")
    assert drift.file is not None
    assert drift.file.stem == str(drift.run_id)
    assert "drift_share" in drift.metrics
    assert build_report(bench.services, "m").flow == "training"
    experiment = read_model_row(bench.services, id_).mlflow_experiment_id or ""
    run_id = store.client.search_runs([experiment])[0].info.run_id
    manual = store.register(name, run_id, store.read_tags(name, 1))

    store.set_alias(name, "champion", manual)
    by_hand = bench.run("m", "inference", force=True)
    bench.run("m", "training", force=True)
    bench.drain()
    trained = bench.run("m", "inference", force=True)

    assert by_hand.metrics["model_version"] == manual
    assert "moved by hand" in by_hand.metrics["warning"]
    assert trained.metrics["model_version"] == store.find_version_by_alias(name, "champion") == 3
    assert "warning" not in trained.metrics


def test_the_champion_moves_only_after_publication_and_inference_makes_up_for_it(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    provisioned(bench, project, promotion={"rule": "always"})
    bench.drain()
    name = build_model_name(project, "m", bench.instance_id("m"))
    store = tracking(bench.services)

    def lost(*_: Any, **__: Any) -> None:
        raise Interrupted("the run was declared dead")

    def away(*_: Any, **__: Any) -> None:
        raise Unavailable("MLflow", "away")

    with monkeypatch.context() as patched:
        patched.setattr(Ledger, "succeed", lost)
        with pytest.raises(Interrupted):
            bench.run("m", "training", force=True)
    assert len(store.client.search_model_versions(f"name = '{name}'")) == 2
    assert store.find_version_by_alias(name, "champion") == 1
    bench.services.ledger.end_badly(
        _running(bench), RunStatus.CRASHED, "dead", bench.services.ledger.retry
    )

    with monkeypatch.context() as patched:
        patched.setattr(Tracking, "promote", away)
        bench.run("m", "training", force=True)
    assert newest(bench, "training").location == f"models:/{name}/3"
    assert store.find_version_by_alias(name, "champion") == 1
    made = bench.run("m", "inference", force=True)
    assert made.metrics["model_version"] == store.find_version_by_alias(name, "champion") == 3


def test_a_model_that_is_no_better_becomes_the_challenger(bench: Bench, project: str) -> None:
    split = {"validation": 0.2, "embargo": 7}
    provisioned(bench, project, promotion={"min_improvement": 9.0}, split=split)
    bench.drain()
    bench.run("prices", as_of=NEXT_DAY)
    bench.drain()

    trained = bench.run("m", "training")

    name, store = build_model_name(project, "m", bench.instance_id("m")), tracking(bench.services)
    assert not trained.published
    assert store.find_version_by_alias(name, "champion") == 1
    assert store.find_version_by_alias(name, "challenger") == trained.metrics["model_version"] == 2


def test_a_walk_forward_training_records_its_folds_and_predicts_each_from_before(
    bench: Bench, project: str
) -> None:
    split = {"method": "expanding", "folds": 3, "validation": 0.5}
    provisioned(bench, project, split=split)
    bench.drain()
    with bench.services.database.read() as session:
        query = select(RunRecord).where(RunRecord.flow_id == bench.flow_id("m", "training"))
        run = session.scalars(query).one()
        metrics, run_id = dict(run.metrics), run.id
    folds = [metrics["folds"][f"fold {at}"] for at in (1, 2, 3)]
    assert metrics["ic"] == pytest.approx(sum(fold["ic"] for fold in folds) / 3)
    assert metrics["predict_from"] == folds[2]["first"]
    store = tracking(bench.services)
    logged = store.client.get_metric_history(metrics["mlflow_run"], "fold_ic")
    assert [(one.step, one.value) for one in logged] == [
        (at, fold["ic"]) for at, fold in enumerate(folds, start=1)
    ]
    made = read_version(bench.services, newest(bench, "inference").id).collect()
    assert str(made["date"].min()) == folds[0]["first"]
    assert made.select("date", "symbol").is_duplicated().sum() == 0
    assert made["date"].is_sorted()
    assert made["prediction"].null_count() == 0

    # Made later than their dates: a backtest tells so, although no model had seen their outcome.
    with bench.services.database.read() as session:
        published = select_first_published(session, bench.instance_id("m"), "training")
    assert {at.date() > made["date"].max() for _, at in published} == {True}
    assert rerun(bench.services, run_id, uuid4()).identical


@pytest.mark.parametrize("gone", ["files", "registered-model"])
def test_a_model_that_is_lost_is_replaced_by_the_next_training(
    bench: Bench, project: str, gone: str
) -> None:
    provisioned(bench, project)
    bench.drain()
    lost, store = newest(bench, "training"), tracking(bench.services)
    name = build_model_name(project, "m", bench.instance_id("m"))
    if gone == "files":
        for file in list(store.folder.rglob("MLmodel")):
            shutil.rmtree(file.parent)
    else:
        store.delete_model(name)

    trained = bench.run("m", "training")
    bench.drain()

    assert trained.published
    assert newest(bench, "training").content_hash == lost.content_hash
    assert bench.run("m", "inference", force=True).metrics[
        "model_version"
    ] == store.find_version_by_alias(name, "champion")


def _running(bench: Bench) -> UUID:
    with bench.services.database.read() as session:
        query = select(RunRecord.id).where(RunRecord.status == RunStatus.RUNNING)
        return session.scalars(query).one()
