"""One idempotent command that sets up everything in Prefect that instances depend on."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_instances.deployments.pools import base_job_template
from prefect_instances.libs.adapters.prefect import Change, EnsureResult, PrefectGateway
from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.services.lifecycle.automations import (
    AGGREGATE_STATUS,
    START_FLOW,
    plan_breach_notice,
    plan_recovery,
)
from prefect_instances.libs.services.lifecycle.lifecycle_flows import LIFECYCLE_TAG, lifecycle_plans

if TYPE_CHECKING:
    from prefect.blocks.core import Block

DEFAULT_POOL_TYPE = "process"


@dataclass(frozen=True, slots=True)
class Applied:
    """One object in Prefect that is now as required, and whether that took a change."""

    kind: str
    name: str
    id: UUID
    change: Change

    def __str__(self) -> str:
        return f"{self.change:<9}  {self.kind} {self.name}"


def apply(
    gateway: PrefectGateway,
    pool: str = WORK_POOL,
    pool_type: str = DEFAULT_POOL_TYPE,
    sweep_seconds: int | None = None,
    notify: str = "",
) -> list[Applied]:
    """Create or update the work pool, block types, lifecycle deployments and automations.

    Lifecycle deployments that are no longer in ``prefect.yaml`` are deleted.

    ``notify`` names the block document of a notification (``slack-webhook/team``) that is sent for
    every missed deadline; without it none is sent.

    ``sweep_seconds`` is the time between two sweeps; None keeps the current value, initially 60.

    Applying again changes nothing. Objects that a person switched off in Prefect (a deployment, a
    schedule, an automation) stay off, and a person's limit of runs or interval is preserved.

    Raises AlreadyExists if the pool exists with another type, Unavailable if Prefect does not
    answer; applying again continues from there.
    """
    steps = list(_steps(gateway, pool, pool_type, sweep_seconds))
    return [*steps, _notify(gateway, notify)] if notify else steps


def _notify(gateway: PrefectGateway, block: str) -> Applied:
    slug, _, name = block.partition("/")
    document = gateway.find_block_document(slug, name)
    if document is None:
        raise NotFound("notification block document", block)
    plan = plan_breach_notice(document)
    return _applied("automation", plan.name, gateway.ensure_automation(plan))


def _steps(
    gateway: PrefectGateway, pool: str, pool_type: str, sweep_seconds: int | None
) -> Iterator[Applied]:
    made = gateway.ensure_work_pool(pool, pool_type, base_job_template(gateway, pool_type))
    yield _applied("work pool", pool, made)
    for block_class in block_classes():
        registered = gateway.ensure_block_type(block_class)
        yield _applied("block type", block_class.get_block_type_slug(), registered)
    deployed: dict[str, UUID] = {}
    for plan in lifecycle_plans(pool, sweep_seconds):
        result = gateway.ensure_deployment(plan)
        deployed[plan.full_name] = result.id
        yield _applied("deployment", plan.full_name, result)
    for view in gateway.list_deployments_tagged(LIFECYCLE_TAG):
        if view.full_name not in deployed and gateway.delete_deployment(view.id):
            yield Applied("deployment", view.full_name, view.id, Change.DELETED)
    if AGGREGATE_STATUS not in deployed:
        raise PermanentError(
            f"prefect.yaml does not list {AGGREGATE_STATUS}; the automations need it"
        )
    for automation in (START_FLOW, plan_recovery(deployed[AGGREGATE_STATUS])):
        yield _applied("automation", automation.name, gateway.ensure_automation(automation))


def block_classes() -> list[type[Block]]:
    """Return the block classes that ``blocks`` exports."""
    from prefect.blocks.core import Block

    from prefect_instances import blocks

    exported = (getattr(blocks, name) for name in getattr(blocks, "__all__", ()))
    return [item for item in exported if isinstance(item, type) and issubclass(item, Block)]


def _applied(kind: str, name: str, result: EnsureResult) -> Applied:
    return Applied(kind, name, result.id, result.change)
