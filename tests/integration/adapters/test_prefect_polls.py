"""What a poll of a work pool does to its deployments, on the server of ``instances up``."""

from __future__ import annotations

from datetime import datetime
from typing import Any
from uuid import uuid4

import httpx

from prefect_instances.libs.adapters.prefect import PrefectGateway
from prefect_instances.libs.adapters.prefect.polls import REPEAT_SECONDS
from tests.patience import eventually


def deploy(person: httpx.Client, pool: str, name: str) -> str:
    flow = person.post("/flows/", json={"name": pool}).json()["id"]
    body = {"flow_id": flow, "name": name, "work_pool_name": pool}
    return str(person.post("/deployments/", json=body).json()["id"])


def poll_until_ready(person: httpx.Client, pool: str, deployment: str) -> datetime:
    """Poll as a worker does until the deployment is ready; when it was polled."""

    def look() -> Any:
        person.post(f"/work_pools/{pool}/get_scheduled_flow_runs", json={}).raise_for_status()
        found = person.get(f"/deployments/{deployment}").json()
        return found["status"] == "READY" and found["last_polled"]

    return datetime.fromisoformat(eventually(look))


def test_a_poll_makes_new_deployments_ready_and_seldom_writes_into_the_others(
    gateway: PrefectGateway, person: httpx.Client
) -> None:
    pool = f"polled-{uuid4().hex[:8]}"
    gateway.ensure_work_pool(pool, "process", None)
    old = deploy(person, pool, "old")
    before = poll_until_ready(person, pool, old)
    new = deploy(person, pool, "new")

    after = poll_until_ready(person, pool, new)

    soon = (after - before).total_seconds() < REPEAT_SECONDS
    assert after > before
    assert poll_until_ready(person, pool, old) == (before if soon else after)
