"""Models whose runs and reports are on servers; and purges of what was never promoted."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr
from sqlalchemy.orm import Session

from prefect_instances.libs.adapters.mlflow import BLOCKED
from prefect_instances.libs.core.divergence import Divergence
from prefect_instances.libs.core.errors import PermanentError, Unavailable
from prefect_instances.libs.db.models import ModelInstance
from prefect_instances.libs.services.composition.model_stores import (
    build_experiment_name,
    build_model_name,
    monitoring,
    read_model_row,
    tracking,
)
from prefect_instances.libs.services.lifecycle.reconciling import Outcome, reconcile
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.rendering import links
from prefect_instances.libs.services.runs.guardrails import GuardrailBlocked
from prefect_instances.libs.services.views import reports
from tests.integration.bench import Bench
from tests.integration.services.lifecycle.test_reconcile import ports_of
from tests.integration.services.procedures.test_models import model, provisioned
from tests.model_servers import SECRET, ModelServer
from tests.prefect_server import free_port


@pytest.fixture
def served(bench: Bench, mlflow_server: ModelServer, evidently_server: ModelServer) -> Bench:
    return _set(
        bench,
        mlflow_tracking_uri=mlflow_server.url,
        evidently_url=evidently_server.url,
        evidently_secret=SecretStr(SECRET),
    )


def _set(bench: Bench, **settings: object) -> Bench:
    changed = bench.services.settings.model_copy(update=settings)
    return Bench(replace(bench.services, settings=changed))


def test_a_model_lives_on_servers_and_leaves_nothing_there_or_here(
    served: Bench, project: str, mlflow_server: ModelServer, evidently_server: ModelServer
) -> None:
    services = served.services
    provisioned(served, project)
    assert served.drain()[-3:] == ["m.training", "m.inference", "m.monitoring"]
    id_, store, watched = served.instance_id("m"), tracking(services), monitoring(services)
    row, name = read_model_row(services, id_), build_model_name(project, "m", id_)
    assert row.mlflow_experiment_id
    assert row.evidently_project_id
    (run,) = store.client.search_runs([row.mlflow_experiment_id])
    assert {item.dataset.name for item in run.inputs.dataset_inputs} == {"prices", "momentum"}
    assert store.find_version_by_alias(name, "champion") == 1
    (reported,) = watched.list_reports(row.evidently_project_id)

    shown = reports.show(services.database, services.now(), "m")
    found = links.link_instance(services.settings, shown["handles"])
    assert found["MLflow experiment"].startswith(mlflow_server.url)
    assert found["Evidently project"].startswith(f"{evidently_server.url}/projects/")
    assert _links_of_runs(served) == {
        "training": {"MLflow run": run.info.run_id},
        "inference": {},
        "monitoring": {"Evidently report": reported},
    }

    # Deleted on the servers by hand: made again, once.
    store.client.delete_experiment(row.mlflow_experiment_id)
    watched.delete_project(row.evidently_project_id)
    assert _healed(served) == {"mlflow", "evidently"}
    assert _healed(served) == set()
    row = read_model_row(services, id_)

    deprovision(services, "m", purge=True)
    assert not store.has_experiment(
        row.mlflow_experiment_id or "", build_experiment_name(project, "m", id_)
    )
    assert store.client.search_registered_models(f"name = '{name}'") == []
    assert not watched.has_project(row.evidently_project_id or "")
    for folder in (
        mlflow_server.folder / "artifacts" / str(row.mlflow_experiment_id),
        evidently_server.folder / "workspace" / str(row.evidently_project_id),
        services.settings.home / "mlflow",
        services.settings.home / "evidently",
    ):
        assert [path for path in folder.rglob("*") if path.is_file()] == []


def _links_of_runs(bench: Bench) -> dict[str, dict[str, str]]:
    """Of each kind of run the titles of its links, and what each address ends in."""
    settings, database = bench.services.settings, bench.services.database
    found = {}
    for run in reports.runs(database, "m")["runs"]:
        document = reports.run_info(database, run["id"])
        pages = links.link_run(settings, document["handles"], document["metrics"])
        found[run["flow_kind"]] = {title: page.rpartition("/")[2] for title, page in pages.items()}
    return found


def _healed(bench: Bench) -> set[str]:
    settled = reconcile(bench.services, ports_of(bench)).items
    lost = [one for one in settled if one.diverged.kind is Divergence.EXTERNAL_MISSING]
    assert {one.outcome for one in lost} <= {Outcome.REPAIRED}
    return {one.diverged.part for one in lost}


def test_a_model_moves_to_servers_by_reconcile_and_a_forced_training(
    bench: Bench, served: Bench, project: str
) -> None:
    provisioned(bench, project)
    bench.drain()
    name = build_model_name(project, "m", bench.instance_id("m"))
    # An experiment of somebody else has, on the server, the id that ours had.
    here = [one.experiment_id for one in tracking(bench.services).client.search_experiments()]
    theirs = tracking(served.services).ensure_experiment(f"theirs {project}")
    _record(bench, mlflow_experiment_id=theirs)

    with pytest.raises(PermanentError, match="instances reconcile"):
        served.run("m", "training", force=True)
    assert _healed(served) == {"mlflow", "evidently"}
    served.run("m", "training", force=True)
    served.drain()

    assert tracking(served.services).find_version_by_alias(name, "champion") == 1
    assert tracking(served.services).client.search_runs([theirs]) == []
    assert served.run("m", "inference", force=True).metrics["model_version"] == 1
    _record(bench, mlflow_experiment_id=theirs)
    made_as = build_experiment_name(project, "m", bench.instance_id("m"))
    deprovision(served.services, "m", purge=True)
    assert tracking(served.services).has_experiment(theirs, f"theirs {project}")
    assert tracking(served.services).find_experiment(made_as) is None
    assert tracking(bench.services).find_experiment(made_as) in here


def _record(bench: Bench, **columns: str) -> None:
    def write(session: Session) -> None:
        row = session.get_one(ModelInstance, bench.instance_id("m"))
        for column, value in columns.items():
            setattr(row, column, value)

    bench.services.database.transact(write)


def test_a_server_that_is_away_is_told_when_a_model_is_made(
    bench: Bench, project: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    away = _set(bench, mlflow_tracking_uri=f"http://127.0.0.1:{free_port()}")
    with pytest.raises(Unavailable, match="MLflow is not available") as caught:
        provisioned(away, project)
    assert "\n" not in str(caught.value)


def test_what_a_guardrail_blocked_says_so_and_is_purged_too(bench: Bench, project: str) -> None:
    contract = {"kind": "ml.validation", "config": {"metrics": {"rmse": {"max": 0.0}}}}
    provisioned(bench, project, run_on_provision=False, guardrail_contracts=[contract])
    bench.drain()
    with pytest.raises(GuardrailBlocked):
        bench.run("m", "training")
    id_, store = bench.instance_id("m"), tracking(bench.services)
    name = build_model_name(project, "m", id_)
    assert read_model_row(bench.services, id_).mlflow_registered_model_name is None
    assert store.read_tags(name, 1)[BLOCKED].startswith("blocked by a guardrail: ml.validation")
    assert (
        store.find_version_by_alias(name, "challenger")
        is store.find_version_by_alias(name, "champion")
        is None
    )

    bench.update({**model(project), "run_on_provision": False})
    bench.run("m", "training")
    assert store.find_version_by_alias(name, "champion") == 2
    assert BLOCKED not in store.read_tags(name, 2)
    # The same model again makes no version, and a verdict on it is none on the champion.
    bench.update({**model(project), "run_on_provision": False, "guardrail_contracts": [contract]})
    with pytest.raises(GuardrailBlocked):
        bench.run("m", "training")
    assert BLOCKED not in store.read_tags(name, 2)

    deprovision(bench.services, "m", purge=True)
    assert store.client.search_registered_models() == []


def test_a_model_that_was_never_promoted_leaves_no_registered_model(
    bench: Bench, project: str
) -> None:
    contract = {"kind": "ml.validation", "config": {"metrics": {"rmse": {"max": 0.0}}}}
    provisioned(bench, project, run_on_provision=False, guardrail_contracts=[contract])
    bench.drain()
    with pytest.raises(GuardrailBlocked):
        bench.run("m", "training")

    deprovision(bench.services, "m", purge=True)

    assert tracking(bench.services).client.search_registered_models() == []
