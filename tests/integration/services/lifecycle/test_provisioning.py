"""Provisioning and removal against a real Prefect server and both databases."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import (
    AlreadyExists,
    HasDependents,
    InvalidSpec,
    NotFound,
    Unavailable,
)
from prefect_instances.libs.core.plan import Action
from prefect_instances.libs.db.models import Resource, ResourceVersion
from prefect_instances.libs.db.repositories.resources import get_instance
from prefect_instances.libs.services.composition.changed_code import list_changed_of
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.services.views import reports
from prefect_instances.libs.specs import survey_manifest
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, prices

pytestmark = on_both_databases


@pytest.fixture
def project() -> str:
    """A project of its own, since all tests share one Prefect server."""
    return f"p{uuid4().hex[:8]}"


def status_of(bench: Bench, name: str) -> dict[str, Any]:
    document = reports.status(bench.services.database, bench.services.now(), name)
    instance: dict[str, Any] = document["instances"][0]
    return instance


def deployments_of(bench: Bench, project: str) -> list[str]:
    found = bench.services.prefect.list_deployments_tagged(f"project:{project}")
    return [view.full_name for view in found]


def test_provisioning_makes_an_active_instance_with_its_handles(bench: Bench, project: str) -> None:
    done = bench.provision(prices(project))

    shown = reports.show(bench.services.database, bench.services.now(), "prices")
    assert (done.action, shown["lifecycle"]) == ("created", "ACTIVE")
    assert deployments_of(bench, project) == [f"refresh-dataset/{project}.prices"]
    view = bench.services.prefect.find_deployment_by_name(f"refresh-dataset/{project}.prices")
    assert view is not None
    assert str(view.id) == shown["handles"]["prefect_deployment_id"]
    assert view.parameters["instance"] == shown["id"]
    document = bench.services.prefect.find_block_document("dataset-instance", f"{project}--prices")
    assert str(document) == shown["handles"]["block_document_id"]


def test_provisioning_the_same_again_changes_nothing(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    before = bench.rows()

    again = bench.provision(prices(project))

    assert again.action == "unchanged"
    assert bench.rows() == before


def test_a_name_with_another_configuration_is_taken(bench: Bench, project: str) -> None:
    bench.provision(prices(project))

    with pytest.raises(AlreadyExists):
        bench.provision(prices(project, symbols=["KO"]))


@pytest.mark.parametrize("method", ["ensure_deployment", "save_block"])
def test_a_step_that_fails_for_now_is_resumed_by_the_next_attempt(
    bench: Bench, project: str, method: str
) -> None:
    with pytest.raises(Unavailable):
        bench.provision(prices(project), bench.with_fault(method))
    failed = status_of(bench, "prices")

    done = bench.provision(prices(project))

    assert failed["lifecycle"] == "FAILED"
    assert "injected" in failed["condition"]["error"]
    assert (done.action, status_of(bench, "prices")["lifecycle"]) == ("created", "ACTIVE")
    assert deployments_of(bench, project) == [f"refresh-dataset/{project}.prices"]


@pytest.mark.parametrize("method", ["ensure_deployment", "save_block", "publish"])
def test_a_process_that_dies_in_a_step_leaves_nothing_doubled(
    bench: Bench, project: str, method: str
) -> None:
    clean = make_reference(bench, project)

    with pytest.raises(KeyboardInterrupt):
        bench.provision(prices(project), bench.with_fault(method, KeyboardInterrupt()))
    bench.provision(prices(project))

    assert status_of(bench, f"{project}/prices")["lifecycle"] == "ACTIVE"
    assert deployments_of(bench, project) == [f"refresh-dataset/{project}.prices"]
    assert {k: v for k, v in bench.rows().items() if k != "outbox"} == clean


def make_reference(bench: Bench, project: str) -> dict[str, int]:
    """Row counts after an undisturbed provisioning of the same."""
    bench.provision(prices(project))
    rows = bench.rows()
    deprovision(bench.services, f"{project}/prices")
    return {name: count for name, count in rows.items() if name != "outbox"}


BAD: list[tuple[str, dict[str, Any], set[str]]] = [
    ("unknown_definition", {"pipeline": {"definition": "market_dat"}}, {"pipeline.definition"}),
    (
        "unknown_version",
        {"pipeline": {"definition": "market_data", "version": "9.9.9"}},
        {"pipeline.version"},
    ),
    (
        "misfit_config",
        {"pipeline": {"definition": "market_data", "config": {"sauce": 1, "start_date": "x"}}},
        {"pipeline.config.sauce", "pipeline.config.start_date"},
    ),
    (
        "unknown_symbol",
        {"pipeline": {"definition": "market_data", "config": {"symbols": ["AAPL", "NOPE"]}}},
        {"pipeline.config.symbols[1]"},
    ),
    (
        "missing_file",
        {"pipeline": {"definition": "file", "config": {"path": "/nowhere/prices.csv"}}},
        {"pipeline.config.path"},
    ),
    ("unknown_component", {"store": {"instance": "no_such_store"}}, {"store.instance"}),
    (
        "unknown_upstream",
        {
            "pipeline": {"definition": "expression", "config": {"expression": "close"}},
            "upstream_refs": [{"resource": "nothing"}],
        },
        {"upstream_refs[0].resource"},
    ),
    (
        "everything_at_once",
        {
            "pipeline": {"definition": "market_data", "config": {"sauce": 1}},
            "store": {"definition": "tape"},
            "accessor": {"instance": "nobody"},
            "upstream_refs": [{"resource": "nothing"}],
        },
        {
            "pipeline.config.sauce",
            "store.definition",
            "accessor.instance",
            "upstream_refs[0].resource",
        },
    ),
]


@pytest.mark.parametrize(("change", "paths"), [b[1:] for b in BAD], ids=[b[0] for b in BAD])
def test_a_bad_spec_names_every_problem_and_changes_nothing(
    bench: Bench, project: str, change: dict[str, Any], paths: set[str]
) -> None:
    before = bench.rows()

    with pytest.raises(InvalidSpec) as caught:
        bench.provision({**prices(project), **change})

    assert {problem.path for problem in caught.value.problems} == paths
    assert bench.rows() == before
    assert deployments_of(bench, project) == []


@pytest.mark.parametrize(
    ("expression", "word"),
    [
        ("close.real", "attribute"),
        ("__import__('os')", "__import__"),
        ("REF(close, -1)", "window"),
        ("MEEN(close, 5)", "MEAN"),
    ],
)
def test_an_expression_outside_the_whitelist_is_refused(
    bench: Bench, project: str, expression: str, word: str
) -> None:
    bench.provision(prices(project))

    with pytest.raises(InvalidSpec) as caught:
        bench.provision(derived(project, "bad", expression, "prices"))

    paths = {problem.path.split("[")[0].split(":")[0] for problem in caught.value.problems}
    assert all(path.startswith("pipeline.config.expression") for path in paths)
    assert word.lower() in str(caught.value).lower()


def test_a_manifest_is_planned_in_lineage_order_and_a_cycle_is_refused(
    bench: Bench, project: str
) -> None:
    chain = {
        "project": project,
        "instances": [derived(project, "b", "close * 2", "prices"), prices(project)],
    }
    loop = {
        "project": project,
        "instances": [
            derived(project, "a", "value", "b"),
            derived(project, "b", "value", "a"),
        ],
    }

    planned = plan(bench.services, survey_manifest(chain))
    with pytest.raises(InvalidSpec) as caught:
        plan(bench.services, survey_manifest(loop))

    assert [(s.action, s.name) for s in planned.steps] == [
        (Action.CREATE, f"{project}/prices"),
        (Action.CREATE, f"{project}/b"),
    ]
    assert any("cycle" in problem.message for problem in caught.value.problems)
    assert bench.rows()["flow_execution_resources"] == 0


def test_faults_of_the_text_and_of_its_meaning_are_reported_together(
    bench: Bench, project: str
) -> None:
    text = {
        "project": project,
        "instances": [
            {
                **prices(project),
                "pipeline": {"definition": "market_dat"},
                "schedule": {"type": "cron", "expression": "61 * * * *", "timezone": "Mars/Base"},
            },
            {**derived(project, "sum", "REF(close, -1) + close.shape", "nobody"), "colour": "red"},
            {**prices(project, "twin"), "store": {"instance": "no_such_store"}},
            prices(project, "twin"),
        ],
    }

    with pytest.raises(InvalidSpec) as caught:
        plan(bench.services, survey_manifest(text))

    assert {
        "instances[0].pipeline.definition",
        "instances[0].schedule.expression",
        "instances[0].schedule.timezone",
        "instances[1].colour",
        "instances[1].upstream_refs[0].resource",
        "instances[2].name",
        "instances[2].store.instance",
        "instances[3].name",
    } <= {problem.path for problem in caught.value.problems}
    assert bench.rows()["flow_execution_resources"] == 0


def test_removal_is_refused_while_others_read_from_it(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "doubled", "close * 2", "prices"))

    with pytest.raises(HasDependents) as caught:
        deprovision(bench.services, "prices")

    assert caught.value.dependents == (f"{project}/doubled",)
    assert len(deployments_of(bench, project)) == 2


def test_removal_with_cascade_and_purge_leaves_nothing(bench: Bench, project: str) -> None:
    empty = bench.rows()
    bench.provision(prices(project))
    bench.provision(derived(project, "doubled", "close * 2", "prices"))
    assert bench.drain() == ["prices", "doubled"]

    removed = deprovision(bench.services, "prices", cascade=True, purge=True)

    assert removed.labels == (f"{project}/doubled", f"{project}/prices")
    left = {name: count for name, count in bench.rows().items() if count != empty[name]}
    # What was installed stays registered, and what happened stays told.
    kinds = {"pipeline_defs", "store_defs", "accessor_defs", "executor_defs"}
    definitions = {"resources", "resource_versions", *kinds}
    assert set(left) <= definitions | {"outbox", "database_marks"}
    assert deployments_of(bench, project) == []
    assert not [path for path in bench.services.settings.store_root.rglob("*") if path.is_file()]
    with pytest.raises(NotFound):
        deprovision(bench.services, "prices")


def test_a_shared_store_outlives_the_dataset_that_made_it(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    sharing = {**prices(project, "other"), "store": {"instance": "prices.store"}}
    bench.provision(sharing)

    deprovision(bench.services, "prices")

    shown = reports.show(bench.services.database, bench.services.now(), "other")
    assert shown["components"]["store"]["name"] == "prices.store"


def test_changed_code_of_each_definition_that_an_instance_uses_is_told(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "moved", "DELTA(close, 1)", "prices"))
    database, registry = bench.services.database, bench.services.registry

    def told() -> list[str]:
        with database.read() as session:
            return list_changed_of(session, registry, get_instance(session, f"{project}/moved"))

    def pretend(session: Session) -> None:
        names = select(Resource.id).where(Resource.name.in_(["DELTA", "expression", "file"]))
        changed = update(ResourceVersion).where(ResourceVersion.resource_id.in_(names))
        session.execute(changed.values(content_hash="other"))

    assert told() == []
    database.transact(pretend)
    assert told() == [
        f"{kind} 1.0.0 has other code than was registered as this version"
        for kind in ("OpDef DELTA", "PipelineDef expression")
    ]
