"""Provisioning beside the bare calls to Prefect that it needs, and a re-apply of nothing new.

The bare calls are one deployment and one block document an instance, by Prefect's own client and
block class: what somebody writes who provisions by hand. Nothing of this project is in them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from statistics import median
from typing import Any
from uuid import uuid4

from benchmarks.live import new_day, source
from benchmarks.record import Figure, Run, Target
from prefect_instances.libs.services.state.context import Services


def measure(run: Run) -> Iterator[Figure]:
    """One instance at a time in this process, then a plan over many that exist."""
    from prefect.settings import PREFECT_API_URL, temporary_settings

    services, count = run.live.services, run.pick(4, 20)
    path = run.scratch / "unread.csv"
    new_day(path)
    documents = [source(f"p{number:03d}", path) for number in range(count)]
    # As in a flow run, whose settings name the server.
    with temporary_settings({PREFECT_API_URL: services.prefect.api_url}):
        # In turns, so that what else the machine does meets both alike; the first two warm up.
        both = [
            (
                _provision(services, {**document, "project": "provisioned"}),
                _bare(services, {**document, "project": "bare"}, number),
            )
            for number, document in enumerate(documents)
        ][2:]
    ours, bare = median(mine for mine, _ in both), median(theirs for _, theirs in both)
    yield Figure(
        "provisioning", "one instance", 1000 * ours, "ms",
        "the bare calls of Prefect's client", 1000 * bare, Target(1.2, of_ratio=True),
    )  # fmt: skip
    with temporary_settings({PREFECT_API_URL: services.prefect.api_url}):
        yield from _reapply(run, services, run.pick(20, 500))


def _provision(services: Services, document: dict[str, Any]) -> float:
    from prefect_instances.libs.services.lifecycle.provisioning import provision
    from prefect_instances.libs.specs import parse_spec

    spec = parse_spec({**document, "run_on_provision": False})
    ports = _ports(services, spec)
    begin = time.perf_counter()
    provision(services, spec, ports)
    return time.perf_counter() - begin


def _bare(services: Services, document: dict[str, Any], number: int) -> float:
    """Make the same deployment and block document by hand."""
    from prefect.client.orchestration import get_client

    from prefect_instances.blocks import block_for
    from prefect_instances.libs.services.lifecycle.external_resources import plan_deployment
    from prefect_instances.libs.specs import parse_spec

    spec = parse_spec({**document, "run_on_provision": False})
    plan = plan_deployment(services, uuid4(), spec, _ports(services, spec), "refresh")
    block = block_for(spec)
    with get_client(sync_client=True) as client:
        begin = time.perf_counter()
        client.create_deployment(
            client.create_flow_from_name(plan.flow_name),
            plan.name,
            entrypoint=plan.entrypoint,
            parameter_openapi_schema=dict(plan.parameter_schema),
            parameters=dict(plan.parameters),
            tags=list(plan.tags),
            description=plan.description,
            work_pool_name=plan.work_pool,
            job_variables=dict(plan.job_variables),
            enforce_parameter_schema=plan.enforce_schema,
            pull_steps=[],
        )
        block.save(f"bare-{number}", overwrite=True, _sync=True)  # type: ignore[call-arg]
        return time.perf_counter() - begin


def _ports(services: Services, spec: Any) -> Any:
    from prefect_instances.blocks import block_for
    from prefect_instances.flows.execution_flows import EXECUTION
    from prefect_instances.libs.adapters.prefect import build_parameter_schema
    from prefect_instances.libs.services.lifecycle.external_resources import Ports

    return Ports(
        execution={
            name: (path, build_parameter_schema(flow)) for name, (path, flow) in EXECUTION.items()
        },
        save_document=lambda name: services.prefect.save_block(block_for(spec), name),
        flow_run_id=uuid4(),
    )


def _reapply(run: Run, services: Services, count: int) -> Iterator[Figure]:
    """A manifest whose instances are all provisioned: what applying it again costs."""
    from prefect_instances.libs.services.lifecycle.manifests import plan
    from prefect_instances.libs.specs import survey_manifest

    path = run.scratch / "unread.csv"
    instances = [
        {**source(f"r{number:04d}", path), "run_on_provision": False} for number in range(count)
    ]
    for document in instances:
        _provision(services, {**document, "project": "again"})
    begin = time.perf_counter()
    planned = plan(services, survey_manifest({"project": "again", "instances": instances}))
    seconds = time.perf_counter() - begin
    if not planned.is_empty:
        raise RuntimeError("the manifest is not unchanged")
    yield Figure(
        "provisioning", f"unchanged manifest of {count} applied again", seconds, "s",
        target=Target(5),
    )  # fmt: skip
