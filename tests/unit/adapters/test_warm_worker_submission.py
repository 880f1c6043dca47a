"""A run that could not be submitted leaves nothing behind in the worker."""

from __future__ import annotations

import asyncio
from uuid import uuid4

import pytest
from prefect._internal.observers import FlowRunCancellingObserver
from prefect.client.orchestration import PrefectClient
from prefect.client.schemas.objects import FlowRun

from prefect_instances.libs.adapters.warm_worker.worker import WarmWorker

NOWHERE = "http://127.0.0.1:9/api"


async def submit(flow_run: FlowRun) -> tuple[set[object], set[object]]:
    """Submit to a server that is not there; what the worker and its observer still hold."""
    worker = WarmWorker(work_pool_name="warm")
    observer = FlowRunCancellingObserver(on_cancelling=lambda _: None)
    worker._client = PrefectClient(NOWHERE)
    worker._cancelling_observer = observer
    worker._submitting_flow_run_ids.add(flow_run.id)
    observer.add_in_flight_flow_run_id(flow_run.id)
    async with worker._client:
        await worker._submit_run(flow_run)
    return set(worker._submitting_flow_run_ids), set(observer._in_flight_flow_run_ids)


@pytest.mark.usefixtures("retries_at_once")
def test_a_run_that_the_server_did_not_answer_for_is_no_longer_watched() -> None:
    flow_run = FlowRun(id=uuid4(), flow_id=uuid4(), name="lost", deployment_id=uuid4())
    assert asyncio.run(submit(flow_run)) == (set(), set())
