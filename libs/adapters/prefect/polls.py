"""What a poll for due runs makes Prefect's server write.

For each poll of a work pool the server writes into every deployment of the pool when it was polled
last, in one transaction. With 1,200 deployments and a poll a second that was half of what the
server did while nothing happened. Prefect itself reads that time only to call a deployment not
ready, 60 s after the last poll.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Awaitable, Callable, Collection
from typing import Any
from uuid import UUID

REPEAT_SECONDS = 20.0
"""How often the time of the last poll is written into all deployments of a pool."""

Mark = Callable[..., Awaitable[None]]


def mark_now_and_then(
    mark: Mark,
    find_unready: Callable[[Collection[UUID]], Awaitable[list[UUID]]],
    clock: Callable[[], float] = time.monotonic,
) -> Mark:
    """Return ``mark_deployments_ready`` that marks all deployments of a pool now and then only.

    In between it marks those that ``find_unready`` finds in the work queues, such as new ones.
    """
    marked: dict[frozenset[UUID], float] = {}

    @functools.wraps(mark)
    async def mark_deployments_ready(**given: Any) -> None:
        queues, now = frozenset(given.get("work_queue_ids") or ()), clock()
        recent = queues in marked and now - marked[queues] < REPEAT_SECONDS
        if not queues or not recent:
            await mark(**given)
            marked[queues] = now
        elif unready := await find_unready(queues):
            await mark(**{**given, "work_queue_ids": None, "deployment_ids": unready})

    return mark_deployments_ready


async def find_unready(queues: Collection[UUID]) -> list[UUID]:
    """Return the deployments in those work queues that the server calls not ready."""
    from prefect.server.database.dependencies import provide_database_interface
    from prefect.server.schemas.statuses import DeploymentStatus
    from sqlalchemy import select  # noqa: TID251  # a table of Prefect

    db = provide_database_interface()
    query = select(db.Deployment.id).where(
        db.Deployment.work_queue_id.in_(queues),
        db.Deployment.status == DeploymentStatus.NOT_READY,
    )
    async with db.session_context() as session:
        return list(await session.scalars(query))
