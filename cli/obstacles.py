"""What keeps every run from starting: seen in Prefect, and no part of the database's state."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING
from uuid import UUID

from prefect_instances.libs.core.errors import InstancesError

if TYPE_CHECKING:
    from prefect_instances.libs.adapters.prefect.inspection import Inspector
    from prefect_instances.libs.settings import Settings


NAMED = 5
"""Number of flows that one line names; the others are counted."""


def find_obstacles(settings: Settings, deployments: Mapping[str, UUID | None]) -> list[str]:
    """Return a line for each reason in Prefect why these flows cannot run, and what to do.

    ``deployments`` are the recorded ones by the name of their flow. Empty if nothing is wrong.
    """
    from prefect_instances.cli.runtime.stack import find_server
    from prefect_instances.libs.adapters.prefect.inspection import Inspector

    try:
        server = find_server(settings)
        with Inspector.connect(server.api_url) as inspector:
            if inspector.health() is None:
                return [f"Prefect does not answer at {server.api_url}; run `instances up`"]
            return list(_obstacles(inspector, deployments))
    except InstancesError as error:
        return [str(error)]


def _obstacles(inspector: Inspector, deployments: Mapping[str, UUID | None]) -> Iterator[str]:
    from prefect_instances.libs.services.lifecycle.automations import START_NAME
    from prefect_instances.libs.services.lifecycle.lifecycle_flows import SWEEP

    sweep = inspector.find_deployment_by_name(SWEEP)
    if sweep is None:
        yield f"no deployment {SWEEP}: Prefect's database is new or was lost; run `instances up`"
    lost = _find_lost(inspector, deployments)
    if lost:
        yield f"no deployment in Prefect: {name_some(lost)}; run `instances reconcile`"
    enabled = inspector.automations().get(START_NAME)
    if enabled is None:
        yield f"the automation {START_NAME!r} is missing; run `instances up`"
    elif not enabled:
        yield f"the automation {START_NAME!r} is off, so only the sweep starts runs; switch it on"
    if sweep is not None and sweep.paused:
        yield f"{SWEEP} is paused, so nothing that gets lost is started again; resume it in Prefect"


def _find_lost(inspector: Inspector, deployments: Mapping[str, UUID | None]) -> list[str]:
    """Return the names of the flows whose deployment is not in Prefect, in order."""
    from prefect_instances.libs.core.ids import EXECUTION_TAG

    if not deployments:
        return []
    present = {view.id for view in inspector.list_deployments_tagged(EXECUTION_TAG)}
    absent = {name: id_ for name, id_ in deployments.items() if id_ not in present}
    # Somebody may have taken the tag away.
    return sorted(name for name, id_ in absent.items() if not _exists(inspector, id_))


def _exists(inspector: Inspector, deployment_id: UUID | None) -> bool:
    return deployment_id is not None and inspector.find_deployment(deployment_id) is not None


def name_some(names: Sequence[str]) -> str:
    """Join the first names; count the others."""
    more = f" and {len(names) - NAMED} more" if names[NAMED:] else ""
    return ", ".join(names[:NAMED]) + more


def print_obstacles(lines: Sequence[str]) -> None:
    """Print the obstacles below an explanation."""
    for line in lines:
        print(f"  in Prefect: {line}")
