"""Two homes on one Prefect server: what one asked for is not done in the database of the other."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID, uuid4

import httpx
import pytest

from prefect_instances.cli.doctor_checks import Level, check_owner
from prefect_instances.cli.runtime.serving import VARIABLE, ServesAnother, claim_server
from prefect_instances.cli.waiting import submit
from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.adapters.prefect.inspection import Inspector
from prefect_instances.libs.core.errors import WrongDatabase
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
from prefect_instances.libs.services.views import reports
from tests.databases import on_both_databases
from tests.integration.bench import Bench, prices

pytestmark = on_both_databases
NAME = "aggregate-status/default"


def test_a_run_is_for_the_database_of_who_asked(bench: Bench) -> None:
    plan = next(plan for plan in lifecycle_plans() if plan.full_name == NAME)
    deployment = bench.services.prefect.ensure_deployment(replace(plan, schedule=None)).id
    run = submit(bench.services, NAME, {})
    bench.services.prefect.delete_deployment(deployment)

    bench.services.refuse_foreign(run.tags)
    bench.services.refuse_foreign(["instances-lifecycle"])
    own = str(bench.services.identity())
    with pytest.raises(WrongDatabase) as refused:
        bench.services.refuse_foreign([*run.tags, "database:another"])

    assert run.tags.count(f"database:{own}") == 1
    assert (refused.value.wanted, refused.value.found) == ("another", own)


@pytest.fixture
def inspector(gateway: PrefectGateway) -> Iterator[Inspector]:
    """A server that serves no database yet, and its pool."""
    gateway.ensure_work_pool("theirs", "process", None)
    with Inspector.connect(gateway.api_url) as inspector:
        yield inspector
        inspector.write_variable(VARIABLE, {})


def report(person: httpx.Client, worker: str) -> None:
    """What a worker says every few seconds."""
    path = "/work_pools/theirs/workers/heartbeat"
    person.post(path, json={"name": worker}).raise_for_status()


def test_a_server_whose_worker_serves_another_database_is_refused(
    bench: Bench, inspector: Inspector, person: httpx.Client
) -> None:
    theirs, ours = uuid4(), bench.services.identity()
    claim_server(inspector, theirs, "theirs", "their-worker")
    report(person, "their-worker")

    claim_server(inspector, theirs, "theirs", "their-worker")
    with pytest.raises(ServesAnother) as refused:
        claim_server(inspector, ours, "instances", "our-worker")
    found = check_owner(bench.services.database, inspector)

    assert f"the worker their-worker of pool 'theirs' serves the database {theirs}" in str(
        refused.value
    )
    assert "prefect variable unset instances_database" in str(refused.value)
    assert found.level is Level.FAIL
    assert str(theirs) in found.detail


def test_a_server_whose_other_database_has_no_worker_is_taken_over(
    bench: Bench, inspector: Inspector
) -> None:
    ours = bench.services.identity()
    claim_server(inspector, uuid4(), "gone")

    claim_server(inspector, ours, "theirs")

    assert inspector.read_variable(VARIABLE) == {"identity": str(ours), "pool": "theirs"}
    assert check_owner(bench.services.database, inspector).level is Level.OK


def test_the_runs_of_an_instance_carry_the_identity_of_its_database(
    bench: Bench, project: str
) -> None:
    bench.provision(prices(project))

    flow = reports.status(bench.services.database, bench.services.now(), f"{project}/prices")
    deployment = UUID(flow["instances"][0]["flows"][0]["deployment_id"])
    run = bench.services.prefect.start_run(deployment, {})

    assert f"database:{bench.services.identity()}" in run.tags
