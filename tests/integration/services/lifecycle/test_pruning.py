"""Pruning: planned as removals, readers first, within the manifest's projects only."""

from __future__ import annotations

from typing import Any

import pytest

from prefect_instances.libs.core.errors import InvalidSpec
from prefect_instances.libs.core.plan import Action, Plan
from prefect_instances.libs.services.lifecycle.manifests import plan
from prefect_instances.libs.services.lifecycle.removal import deprovision
from prefect_instances.libs.specs import survey_manifest
from tests.databases import on_both_databases
from tests.integration.bench import Bench, derived, prices

pytestmark = on_both_databases


def planned(bench: Bench, project: str, *instances: dict[str, Any], pruning: bool = True) -> Plan:
    document = {"project": project, "instances": list(instances)}
    return plan(bench.services, survey_manifest(document), pruning=pruning)


def steps(found: Plan) -> list[tuple[Action, str]]:
    return [(step.action, step.name.partition("/")[2]) for step in found.steps]


def chain(bench: Bench, project: str) -> None:
    bench.provision(prices(project))
    bench.provision(derived(project, "doubled", "close * 2", "prices"))
    bench.provision(derived(project, "shifted", "value + 1", "doubled"))


def test_what_the_manifest_does_not_name_is_removed_readers_first(
    bench: Bench, project: str
) -> None:
    chain(bench, project)
    bench.provision(prices(f"{project}x"))

    found = planned(bench, project, prices(project))

    assert steps(found) == [
        (Action.UNCHANGED, "prices"),
        (Action.REMOVE, "shifted"),
        (Action.REMOVE, "doubled"),
    ]
    assert steps(planned(bench, project, prices(project), pruning=False)) == [
        (Action.UNCHANGED, "prices")
    ]
    for step in found.steps[1:]:
        deprovision(bench.services, step.name)
    assert planned(bench, project, prices(project)).is_empty


def test_what_is_still_read_is_not_removed(bench: Bench, project: str) -> None:
    chain(bench, project)
    elsewhere = f"{project}x"
    bench.provision(derived(elsewhere, "tripled", "close * 3", f"{project}/prices"))

    with pytest.raises(InvalidSpec) as caught:
        planned(bench, project, derived(project, "shifted", "value + 1", "doubled"))

    text = str(caught.value)
    assert "instances[0].upstream_refs[0].resource" in text
    assert f"{elsewhere}/tripled" in text
