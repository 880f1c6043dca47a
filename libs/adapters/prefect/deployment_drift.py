"""Manual edits of a deployment that ``ensure_deployment`` would revert."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from prefect_instances.libs.adapters.prefect.deployments import (
    DeploymentPlan,
    DeploymentView,
    build_deployment_fields,
    build_schedule_requests,
    differences,
)
from prefect_instances.libs.adapters.prefect.schedules import build_native_schedules
from prefect_instances.libs.core.differences import find_differences as value_differences

UNSHOWN = {
    # It may hold a password, which must not appear in an event.
    "job_variables": "job_variables differ",
    "parameter_openapi_schema": "the parameter schema is not that of the installed flow",
    "version": "the mark of a disabled schedule differs",
}
"""Messages for fields whose values are secret, long or uninformative."""


def list_deployment_edits(plan: DeploymentPlan, view: DeploymentView) -> tuple[str, ...]:
    """Return one line for each edit, ``field: planned -> stored``; empty if there is none.

    People's own settings (paused, a schedule switched off or added) are not edits.
    """
    return (*_field_edits(plan, view.stored), *_schedule_edits(plan, view.stored))


def _field_edits(plan: DeploymentPlan, stored: Mapping[str, Any]) -> Iterator[str]:
    planned = build_deployment_fields(plan)
    for name in differences(plan, stored):
        if name in UNSHOWN:
            yield UNSHOWN[name]
            continue
        theirs = sorted(stored["tags"]) if name == "tags" else stored.get(name)
        yield from map(str, value_differences({name: planned[name]}, {name: theirs}))


def _schedule_edits(plan: DeploymentPlan, stored: Mapping[str, Any]) -> Iterator[str]:
    planned = build_native_schedules(plan.schedule)
    known = {item["id"]: item for item in stored["schedules"]}
    for method, place, body in build_schedule_requests(plan, stored):
        if method == "POST":
            assert isinstance(body, list)
            yield from (f"schedule {item['slug']} was deleted" for item in body)
            continue
        theirs = known[place.removeprefix("/")]
        if method == "DELETE":
            yield f"schedule {theirs['slug']} is not in the configuration"
            continue
        yield from _changes(theirs["slug"], planned[theirs["slug"]], theirs["schedule"])


def _changes(slug: str, planned: Mapping[str, Any], stored: Mapping[str, Any]) -> Iterator[str]:
    """Yield the values of a schedule that differ, except those that only the server fills in."""
    told = {key: value for key, value in stored.items() if key in planned or value is not None}
    yield from map(
        str, value_differences({f"schedule {slug}": planned}, {f"schedule {slug}": told})
    )
