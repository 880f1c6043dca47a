"""Work pools of other types, and instances that run in them, on a real server."""

from __future__ import annotations

from typing import Any
from uuid import uuid4

import httpx
import pytest

from prefect_instances.deployments.pools import DEFAULTS, base_job_template
from prefect_instances.libs.adapters.prefect import Change, PrefectGateway, Refused
from prefect_instances.libs.specs import output_fingerprint, parse_spec
from tests.integration.bench import Bench, prices

VARIABLES = {"docker": {"mem_limit": "4g"}, "kubernetes": {"memory_limit": "4Gi"}}


def stored(person: httpx.Client, pool: str) -> dict[str, Any]:
    found: dict[str, Any] = person.get(f"/work_pools/{pool}").raise_for_status().json()
    return found


@pytest.mark.parametrize("type_", sorted(DEFAULTS))
def test_the_server_accepts_the_template_of_each_type(
    gateway: PrefectGateway, person: httpx.Client, type_: str
) -> None:
    name = f"pool-{uuid4().hex[:8]}"
    template = base_job_template(gateway, type_)

    made = gateway.ensure_work_pool(name, type_, template)
    again = gateway.ensure_work_pool(name, type_, template)

    assert (made.change, again.change) == (Change.CREATED, Change.UNCHANGED)
    kept = stored(person, name)
    assert (kept["type"], kept["base_job_template"]) == (type_, template)
    assert "prefect.engine" in template["variables"]["properties"]["command"]["default"]


@pytest.mark.parametrize("type_", sorted(VARIABLES))
def test_an_instance_may_run_in_a_pool_of_its_own(
    bench: Bench, project: str, person: httpx.Client, type_: str
) -> None:
    pool = f"pool-{uuid4().hex[:8]}"
    bench.services.prefect.ensure_work_pool(
        pool, type_, base_job_template(bench.services.prefect, type_)
    )

    bench.provision({**prices(project), "work_pool": pool, "job_variables": VARIABLES[type_]})

    path = f"/deployments/name/refresh-dataset/{project}.prices"
    deployment = person.get(path).raise_for_status().json()
    assert deployment["work_pool_name"] == pool
    assert deployment["job_variables"] == VARIABLES[type_]


def test_a_pool_or_a_variable_that_is_not_there_is_refused_and_leaves_nothing(
    bench: Bench, project: str
) -> None:
    pool = f"pool-{uuid4().hex[:8]}"
    bench.services.prefect.ensure_work_pool(
        pool, "docker", base_job_template(bench.services.prefect, "docker")
    )
    before = bench.rows()["flow_execution_resources"]

    with pytest.raises(Refused):
        bench.provision({**prices(project), "work_pool": "no-such-pool"})
    with pytest.raises(Refused):
        bench.provision(
            {**prices(project), "work_pool": pool, "job_variables": {"privileged": "perhaps"}}
        )

    assert bench.rows()["flow_execution_resources"] == before


def test_where_an_instance_runs_does_not_decide_its_output() -> None:
    document = prices("demo")
    elsewhere = {**document, "work_pool": "gpu", "job_variables": {"mem_limit": "4g"}}

    assert output_fingerprint(parse_spec(document)) == output_fingerprint(parse_spec(elsewhere))
