"""Which deployments a poll of their work pool marks as polled."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from typing import Any
from uuid import UUID, uuid4

from prefect_instances.libs.adapters.prefect.polls import REPEAT_SECONDS, mark_now_and_then

QUEUE, OTHER, NEW = uuid4(), uuid4(), uuid4()


def test_all_are_marked_now_and_then_and_new_ones_at_once() -> None:
    marked: list[dict[str, Any]] = []
    unready: list[UUID] = []
    now = 1000.0

    async def mark(**given: Any) -> None:
        marked.append(given)

    async def find_unready(queues: Collection[UUID]) -> list[UUID]:
        assert set(queues) == {QUEUE}
        return unready

    seldom = mark_now_and_then(mark, find_unready, lambda: now)
    poll = {"db": "db", "work_queue_ids": [QUEUE]}

    asyncio.run(seldom(**poll))
    now += REPEAT_SECONDS - 1
    asyncio.run(seldom(**poll))
    assert marked == [poll]

    unready.append(NEW)
    asyncio.run(seldom(**poll))
    assert marked[1:] == [{"db": "db", "work_queue_ids": None, "deployment_ids": [NEW]}]

    other = {"db": "db", "work_queue_ids": [OTHER]}
    named = {"db": "db", "deployment_ids": [NEW]}
    for given in (other, named, named):
        asyncio.run(seldom(**given))
    now += 1
    asyncio.run(seldom(**poll))
    assert marked[2:] == [other, named, named, poll]
