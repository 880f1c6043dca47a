"""Two homes on one Prefect server: what one asked for is not done in the database of the other."""

from __future__ import annotations

from dataclasses import replace

import pytest

from prefect_instances.cli.waiting import submit
from prefect_instances.libs.core.errors import WrongDatabase
from prefect_instances.libs.services.lifecycle.lifecycle_flows import lifecycle_plans
from tests.databases import on_both_databases
from tests.integration.bench import Bench

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
