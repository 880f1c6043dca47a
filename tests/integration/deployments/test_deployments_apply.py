"""``instances deploy`` and ``prefect deploy`` on a real server, from nothing."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import httpx
import pytest

from prefect_instances.deployments.apply import Applied, apply, block_classes
from prefect_instances.libs.adapters.prefect import Change, Every, PrefectGateway
from prefect_instances.libs.core.errors import AlreadyExists, InvalidSpec
from prefect_instances.libs.services.lifecycle.automations import (
    AGGREGATE_STATUS,
    BAD_END_NAME,
    START_NAME,
)
from prefect_instances.libs.services.lifecycle.lifecycle_flows import (
    RECONCILE,
    SWEEP,
    definition_file,
    lifecycle_plans,
)
from tests.prefect_server import running_server

ROOT = Path(__file__).parents[3]

INSTANCES = ("-c", "from prefect_instances.cli.app import main; main()")

LIFECYCLE = {
    "provision-instance/default",
    "deprovision-instance/default",
    "apply-manifest/default",
    "backfill-instance/default",
    "check-upstream-freshness/default",
    "aggregate-status/default",
    "rerun-run/default",
    "sweep-freshness/default",
    "reconcile/default",
    "update-instance/default",
    "pause-instance/default",
    "resume-instance/default",
    "promote-dataset/default",
    "save-macro/default",
}


@pytest.fixture
def empty_server(tmp_path: Path, prefect_template: Path) -> Iterator[dict[str, str]]:
    """The environment of a server that nothing was applied to."""
    with running_server(tmp_path / "prefect", prefect_template) as variables:
        yield {**variables, "INSTANCES_HOME": str(tmp_path / "home")}


def changes(applied: list[Applied]) -> set[Change]:
    return {item.change for item in applied}


def run(*command: str, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, *command],
        env=dict(environment),
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )


def deploy_all(environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return run("-m", "prefect", "--no-prompt", "deploy", "--all", environment=environment)


def test_applying_makes_everything_and_applying_again_changes_nothing(
    empty_server: dict[str, str],
) -> None:
    with PrefectGateway.connect(empty_server["PREFECT_API_URL"]) as gateway:
        first = apply(gateway)
        assert changes(first) == {Change.CREATED}
        made = {(item.kind, item.name) for item in first}
        assert made >= {("work pool", "instances")}
        assert made >= {("deployment", name) for name in LIFECYCLE}
        assert made >= {("automation", START_NAME), ("automation", BAD_END_NAME)}
        assert made >= {("block type", "dataset-instance"), ("block type", "signal-instance")}

        again = apply(gateway)
        assert changes(again) == {Change.UNCHANGED}
        assert [item.id for item in again] == [item.id for item in first]

        with httpx.Client(base_url=empty_server["PREFECT_API_URL"]) as person:
            _a_persons_switches_survive(gateway, person)
        faster = {item.name: item.change for item in apply(gateway, sweep_seconds=10)}
        assert {name for name, change in faster.items() if change is Change.UPDATED} == {SWEEP}
        with pytest.raises(AlreadyExists):
            apply(gateway, pool_type="instances-warm")

        sweep = gateway.find_deployment_by_name(SWEEP)
        assert sweep is not None
        assert [(one.interval_seconds, one.active) for one in sweep.schedules] == [(10, False)]
    _deploying_again_keeps_what_people_set(empty_server)
    _the_command_prints_that_nothing_changed(empty_server)
    with PrefectGateway.connect(empty_server["PREFECT_API_URL"]) as gateway:
        _what_is_listed_no_more_is_deleted(gateway)


def _what_is_listed_no_more_is_deleted(gateway: PrefectGateway) -> None:
    plan = next(plan for plan in lifecycle_plans() if plan.full_name == RECONCILE)
    gateway.ensure_deployment(replace(plan, flow_name="renamed-since"))
    gateway.ensure_deployment(replace(plan, flow_name="a-persons-own", tags=()))

    deleted = [item.name for item in apply(gateway) if item.change is Change.DELETED]

    assert deleted == ["renamed-since/default"]
    assert gateway.find_deployment_by_name("a-persons-own/default") is not None


def _a_persons_switches_survive(gateway: PrefectGateway, person: httpx.Client) -> None:
    sweep = gateway.find_deployment_by_name(SWEEP)
    aggregate = gateway.find_deployment_by_name(AGGREGATE_STATUS)
    assert sweep is not None
    assert aggregate is not None
    (schedule,) = sweep.schedules
    path = f"/deployments/{sweep.id}/schedules/{schedule.id}"
    person.patch(path, json={"active": False}).raise_for_status()
    person.post(f"/deployments/{aggregate.id}/pause_deployment").raise_for_status()

    assert changes(apply(gateway)) == {Change.UNCHANGED}
    kept = gateway.find_deployment(sweep.id)
    assert kept is not None
    assert not kept.schedules[0].active


def _deploying_again_keeps_what_people_set(environment: Mapping[str, str]) -> None:
    url = environment["PREFECT_API_URL"]
    with PrefectGateway.connect(url) as gateway, httpx.Client(base_url=url) as person:
        _a_person_changes_much(gateway, person)
        before = _fields(person, DEPLOY_WRITES)

        deployed = deploy_all(environment)

        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert _fields(person, DEPLOY_WRITES) == before
        after = _fields(person)
        assert changes(apply(gateway)) == {Change.UNCHANGED}
        assert _fields(person) == after


def _the_command_prints_that_nothing_changed(environment: Mapping[str, str]) -> None:
    said = run(*INSTANCES, "deploy", "--pool-type", "process", environment=environment)
    assert said.returncode == 0, said.stderr
    database, *rest = said.stdout.splitlines()
    assert database.split() == ["created", "database"]
    assert {line.split()[0] for line in rest} == {"unchanged"}


def _a_person_changes_much(gateway: PrefectGateway, person: httpx.Client) -> None:
    """Pauses, limits, switches off and moves: each of another deployment, and all of one."""
    sweep, reconcile, aggregate = (
        gateway.find_deployment_by_name(name) for name in (SWEEP, RECONCILE, AGGREGATE_STATUS)
    )
    assert sweep is not None
    assert reconcile is not None
    assert aggregate is not None
    slower = {"schedule": {"interval": 300}}
    for view in (sweep, reconcile):
        (schedule,) = view.schedules
        path = f"/deployments/{view.id}/schedules/{schedule.id}"
        person.patch(path, json=slower).raise_for_status()
    person.patch(path, json={"active": False}).raise_for_status()
    own = [{"schedule": {"cron": "0 4 * * *"}, "active": True}]
    person.post(f"/deployments/{sweep.id}/schedules", json=own).raise_for_status()
    limit = {"concurrency_limit": 3, "concurrency_options": {"collision_strategy": "CANCEL_NEW"}}
    for view in (reconcile, aggregate):
        person.patch(f"/deployments/{view.id}", json=limit).raise_for_status()
        person.post(f"/deployments/{view.id}/pause_deployment").raise_for_status()


DEPLOY_WRITES = ("version", "version_id", "version_info")
"""What the first `prefect deploy` writes of a deployment that our own code made."""


def _fields(person: httpx.Client, without: tuple[str, ...] = ()) -> dict[str, dict[str, Any]]:
    """Every field of every deployment by id, without the moment it was last written."""
    found = person.post("/deployments/filter", json={}).json()
    return {document["id"]: _field(document, without) for document in found}


def _field(document: dict[str, Any], without: tuple[str, ...]) -> dict[str, Any]:
    limit = document["global_concurrency_limit"]
    told = None if limit is None else (limit["limit"], limit["active"])
    left_out = ("updated", *without)
    kept = {name: value for name, value in document.items() if name not in left_out}
    return {**kept, "global_concurrency_limit": told}


@pytest.mark.thorough
def test_the_command_prints_what_it_did_after_which_prefect_deploy_works(
    empty_server: dict[str, str],
) -> None:
    without_pool = deploy_all(empty_server)
    assert without_pool.returncode == 1

    command = (*INSTANCES, "deploy", "--pool-type", "process")
    prepared = run(*command, environment=empty_server)
    assert prepared.returncode == 0, prepared.stderr
    assert "created    work pool instances" in prepared.stdout

    deployed = deploy_all(empty_server)
    assert deployed.returncode == 0, deployed.stdout + deployed.stderr
    again = run(*command, environment=empty_server)
    assert again.returncode == 0, again.stderr
    assert {line.split()[0] for line in again.stdout.splitlines()} == {"unchanged"}

    with httpx.Client(base_url=empty_server["PREFECT_API_URL"]) as person:
        before = _fields(person)
        deployed = deploy_all(empty_server)
        assert deployed.returncode == 0, deployed.stdout + deployed.stderr
        assert _fields(person) == before


def test_the_command_says_in_one_line_that_no_server_answers(tmp_path: Path) -> None:
    environment = {"PREFECT_HOME": str(tmp_path), "PREFECT_API_URL": "http://127.0.0.1:9/api"}
    failed = run(*INSTANCES, "deploy", environment=environment)
    assert failed.returncode == 1
    assert failed.stdout == ""
    assert failed.stderr.startswith("instances: Prefect API is not available")
    assert len(failed.stderr.splitlines()) == 1


def test_every_lifecycle_flow_is_listed_and_only_those() -> None:
    assert {plan.full_name for plan in lifecycle_plans()} == LIFECYCLE


def test_the_pool_and_the_time_between_sweeps_may_be_chosen() -> None:
    plans = lifecycle_plans(pool="other", sweep_seconds=5)
    assert {plan.work_pool for plan in plans} == {"other"}
    schedules = {plan.full_name: plan.schedule for plan in plans}
    assert schedules.pop(SWEEP) == Every(5)
    assert schedules.pop(RECONCILE) == Every(900, yields=True)
    assert set(schedules.values()) == {None}


def test_block_classes_are_those_that_people_fill_in() -> None:
    slugs = {block_class.get_block_type_slug() for block_class in block_classes()}
    assert slugs >= {"dataset-instance", "signal-instance"}


@pytest.mark.parametrize(
    ("change", "path"),
    [
        (("pull: []", "pull:"), "pull"),
        (("pull: []", "pull: [{step: {}}]"), "pull"),
        (("keep_what_people_set: {}", "something_else: {}"), "build"),
        (("- name: default", "- version: 1"), "deployments[0].version"),
        (("- name: default", "- tags: []"), "deployments[0].name"),
        (("tags: [instances-lifecycle]", "schedules: []"), "deployments[0].schedules"),
        (("tags: [instances-lifecycle]", "tags: []"), "deployments[0].tags"),
    ],
)
def test_what_prefect_deploy_would_do_differently_is_refused(
    tmp_path: Path, change: tuple[str, str], path: str
) -> None:
    changed = tmp_path / "prefect.yaml"
    original = definition_file().read_text()
    assert change[0] in original
    changed.write_text(original.replace(*change))
    with pytest.raises(InvalidSpec) as caught:
        lifecycle_plans(path=changed)
    assert path in {problem.path for problem in caught.value.problems}
