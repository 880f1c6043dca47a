"""Deployments: created once, then changed only where they differ, to preserve people's settings.

Prefect's own upsert resets every field that it is not given and replaces every schedule. Here a
deployment is created by POST and from then on patched field by field, its schedule by slug.
People's settings are never undone: that a deployment is paused, a limit of its runs if the plan has
none, and that a schedule is switched off (or on) while the specification did not change.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
from pydantic_core import to_jsonable_python

from prefect_instances.libs.adapters.prefect.api import Api, Calls, Refused, convert_absent
from prefect_instances.libs.adapters.prefect.change import Change, EnsureResult
from prefect_instances.libs.adapters.prefect.schedules import (
    Every,
    ScheduleView,
    build_native_schedules,
    is_ours,
    is_same_schedule,
    view_schedule,
)
from prefect_instances.libs.core.errors import NotFound, PermanentError
from prefect_instances.libs.core.ids import WORK_POOL
from prefect_instances.libs.specs import ScheduleSpec

SCHEDULE_OFF = "schedule-off"
"""Version of a deployment whose specification disables the schedule.

It lets the next ``ensure_deployment`` tell a schedule that a person switched off (kept) from one
that the specification had off (switched on once it says so).
"""

FORBIDDEN_IN_NAMES = frozenset("/%&><")
MODULE_PATH = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)+\Z")


@dataclass(frozen=True, slots=True)
class DeploymentPlan:
    """The desired deployment. Its identity is (``flow_name``, ``name``).

    ``entrypoint`` is in module form (``flows.refresh_dataset.refresh_dataset``): the path form
    would load a second copy of every class. It, ``flow_name`` and ``parameter_schema`` come from
    ``describe_flow``; Prefect refuses runs whose parameters break the schema. ``parameters`` are
    defaults of every run, overridden by those of the run. ``concurrency_limit`` counts runs at a
    time; None leaves that to people: any number, unless one of them sets a limit in Prefect.
    """

    flow_name: str
    name: str
    entrypoint: str
    parameter_schema: Mapping[str, Any]
    parameters: Mapping[str, Any] = field(default_factory=dict)
    tags: tuple[str, ...] = ()
    description: str = ""
    schedule: ScheduleSpec | Every | None = None
    work_pool: str = WORK_POOL
    job_variables: Mapping[str, Any] = field(default_factory=dict)
    concurrency_limit: int | None = None
    enforce_schema: bool = True

    def __post_init__(self) -> None:
        if bad := FORBIDDEN_IN_NAMES.intersection(self.flow_name + self.name):
            raise PermanentError(
                f"{self.full_name!r} is not a valid deployment name: "
                f"it contains {' '.join(sorted(bad))}"
            )
        if not MODULE_PATH.match(self.entrypoint):
            raise PermanentError(
                f"{self.entrypoint!r} is not a module path such as package.module.flow"
            )

    @property
    def full_name(self) -> str:
        """Return its full name, such as ``refresh-dataset/demo.sp500_prices``."""
        return f"{self.flow_name}/{self.name}"


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """A deployment as it is in Prefect; ``stored`` is the server's complete document."""

    id: UUID
    flow_name: str
    name: str
    tags: tuple[str, ...]
    paused: bool
    parameters: Mapping[str, Any]
    entrypoint: str
    description: str
    work_pool: str
    schedules: tuple[ScheduleView, ...]
    concurrency_limit: int | None
    stored: Mapping[str, Any] = field(default_factory=dict, repr=False, compare=False)

    @property
    def full_name(self) -> str:
        """Return its full name, such as ``refresh-dataset/demo.sp500_prices``."""
        return f"{self.flow_name}/{self.name}"


class DeploymentCalls(Calls):
    """Calls about deployments."""

    def __init__(self, api: Api) -> None:
        super().__init__(api)
        self._flow_names: dict[str, str] = {}

    def ensure_deployment(self, plan: DeploymentPlan) -> EnsureResult:
        """Create or change the deployment to match ``plan``; an existing one keeps its id.

        Safe to call from several processes at once: Prefect has one deployment for each name.
        Raises Refused if Prefect rejects the plan (unknown work pool, parameters against the
        schema), Unavailable if it does not answer.
        """
        try:
            return _ensure(self._api, plan)
        except Refused as refusal:
            if refusal.status != httpx.codes.NOT_FOUND:
                raise
            # It, or a schedule of it, was deleted between two requests: start over.
            return _ensure(self._api, plan)

    def find_deployment(self, deployment_id: UUID) -> DeploymentView | None:
        """Return the deployment with this id, or None."""
        document = self._api.find(f"/deployments/{deployment_id}", doing="read a deployment")
        return None if document is None else self._view_deployment(document)

    def find_deployment_by_name(self, full_name: str) -> DeploymentView | None:
        """Return the deployment ``flow-name/deployment-name``, or None."""
        flow_name, _, name = full_name.partition("/")
        document = _read_by_name(self._api, flow_name, name)
        return None if document is None else self._view_deployment(document)

    def list_deployments_tagged(self, tag: str) -> list[DeploymentView]:
        """Return every deployment with this tag, by name."""
        body = {"deployments": {"tags": {"all_": [tag]}}, "sort": "NAME_ASC"}
        pages = self._api.pages("/deployments/filter", body, doing="list deployments")
        return [self._view_deployment(document) for document in pages]

    def delete_deployment(self, deployment_id: UUID) -> bool:
        """Delete the deployment and its unstarted runs; return False if it did not exist.

        Finished runs, their artifacts and automations that selected it remain.
        """
        return self._api.delete(f"/deployments/{deployment_id}", doing="delete a deployment")

    def set_deployment_paused(self, deployment_id: UUID, paused: bool) -> None:
        """Pause or resume the schedules; runs started by hand or by automation are not affected.

        Raises NotFound if there is no such deployment.
        """
        verb = "pause" if paused else "resume"
        path = f"/deployments/{deployment_id}/{verb}_deployment"
        try:
            self._api.request("POST", path, doing=f"{verb} a deployment")
        except Refused as refusal:
            raise convert_absent(refusal, "deployment", deployment_id) from refusal

    def limit_deployment(
        self, deployment_id: UUID, limit: int, options: Mapping[str, Any] | None = None
    ) -> None:
        """Limit concurrent runs to ``limit``; ``options`` say what happens to the others.

        Raises NotFound if there is no such deployment.
        """
        body = {"concurrency_limit": limit, "concurrency_options": options}
        try:
            path = f"/deployments/{deployment_id}"
            self._api.request("PATCH", path, body, doing="limit a deployment")
        except Refused as refusal:
            raise convert_absent(refusal, "deployment", deployment_id) from refusal

    def _view_deployment(self, document: Mapping[str, Any]) -> DeploymentView:
        return DeploymentView(
            id=UUID(document["id"]),
            flow_name=self._flow_name(document["flow_id"]),
            name=document["name"],
            tags=tuple(document["tags"]),
            paused=document["paused"],
            parameters=document["parameters"],
            entrypoint=document["entrypoint"] or "",
            description=document["description"] or "",
            work_pool=document["work_pool_name"] or "",
            schedules=tuple(view_schedule(item) for item in document["schedules"]),
            concurrency_limit=_limit(document),
            stored=document,
        )

    def _flow_name(self, flow_id: str) -> str:
        """Return a flow's name; flows are few and never renamed, so each is read once."""
        if flow_id not in self._flow_names:
            flow = self._api.find(f"/flows/{flow_id}", doing="read a flow")
            if flow is None:
                return ""
            self._flow_names[flow_id] = flow["name"]
        return self._flow_names[flow_id]


def _read_by_name(api: Api, flow_name: str, name: str) -> dict[str, Any] | None:
    path = f"/deployments/name/{quote(flow_name, safe='')}/{quote(name, safe='')}"
    return api.find(path, doing=f"read deployment {flow_name}/{name}")


def _ensure(api: Api, plan: DeploymentPlan) -> EnsureResult:
    current = _read_by_name(api, plan.flow_name, plan.name)
    if current is None:
        return _create(api, plan)
    return EnsureResult(UUID(current["id"]), _update(api, plan, current))


def _create(api: Api, plan: DeploymentPlan) -> EnsureResult:
    doing = f"create deployment {plan.full_name}"
    flow = api.request("POST", "/flows/", {"name": plan.flow_name}, doing=doing)
    enabled = _enabled(plan)
    body = {
        **build_deployment_fields(plan),
        "flow_id": flow["id"],
        "name": plan.name,
        "schedules": [
            {"schedule": schedule, "slug": slug, "active": enabled}
            for slug, schedule in build_native_schedules(plan.schedule).items()
        ],
    }
    response = api.send("POST", "/deployments/", body, doing=doing)
    was_new = response.status_code == httpx.codes.CREATED
    change = Change.CREATED if was_new else Change.UPDATED
    return EnsureResult(UUID(response.json()["id"]), change)


def _update(api: Api, plan: DeploymentPlan, current: Mapping[str, Any]) -> Change:
    doing = f"update deployment {plan.full_name}"
    path = f"/deployments/{current['id']}"
    changes = differences(plan, current)
    if "work_pool_name" in changes:
        _require_pool(api, plan.work_pool, doing)
    requests = build_schedule_requests(plan, current)
    for method, place, body in requests:
        api.request(method, f"{path}/schedules{place}", body, doing=doing)
    if not changes and not requests:
        return Change.UNCHANGED
    # Prefect looks soonest at deployments that were written themselves, hence always a PATCH, and
    # after the schedules, so that their part of it, the version, never runs ahead of them.
    api.request("PATCH", path, {**changes, "version": _version(plan)}, doing=doing)
    return Change.UPDATED


def build_schedule_requests(
    plan: DeploymentPlan, current: Mapping[str, Any]
) -> list[tuple[str, str, object]]:
    """Return the requests (method, path below ``…/schedules``, body) that update our schedules."""
    stored = {item["slug"]: item for item in current["schedules"] if is_ours(item["slug"])}
    enabled, was_enabled = _enabled(plan), current["version"] != SCHEDULE_OFF
    switched = enabled != was_enabled
    silenced = bool(stored) and not any(item["active"] for item in stored.values())
    yields = isinstance(plan.schedule, Every) and plan.schedule.yields
    requests: list[tuple[str, str, object]] = []
    for slug, schedule in build_native_schedules(plan.schedule).items():
        known = stored.pop(slug, None)
        if known is None:
            # An additional schedule is inactive if a person switched the others off.
            active = enabled and (switched or not silenced)
            requests.append(("POST", "", [{"schedule": schedule, "slug": slug, "active": active}]))
            continue
        changes: dict[str, Any] = {}
        if not yields and not is_same_schedule(schedule, known["schedule"]):
            changes["schedule"] = schedule
        if switched and enabled != known["active"]:
            changes["active"] = enabled
        if changes:
            requests.append(("PATCH", f"/{known['id']}", changes))
    return requests + [("DELETE", f"/{item['id']}", None) for item in stored.values()]


def _require_pool(api: Api, name: str, doing: str) -> None:
    """Raise a clear error for an unknown pool: Prefect's PATCH answers an internal error."""
    if api.find(f"/work_pools/{quote(name, safe='')}", doing=doing) is None:
        raise NotFound("work pool", name)


def differences(plan: DeploymentPlan, current: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of ``plan`` that differ from the stored document, as a PATCH body."""
    stored = {
        **current,
        "description": current["description"] or "",
        "tags": sorted(current["tags"]),
        "concurrency_limit": _limit(current),
        # Any other value (`prefect deploy` writes its own) is ignored.
        "version": SCHEDULE_OFF if current["version"] == SCHEDULE_OFF else None,
    }
    return {
        name: value
        for name, value in build_deployment_fields(plan).items()
        if stored[name] != value
    }


def build_deployment_fields(plan: DeploymentPlan) -> dict[str, Any]:
    """Return the fields common to a POST and a PATCH, in JSON values and a canonical order."""
    fields = {
        "entrypoint": plan.entrypoint,
        "parameters": to_jsonable_python(dict(plan.parameters)),
        "tags": sorted(set(plan.tags)),
        "description": plan.description,
        "work_pool_name": plan.work_pool,
        "job_variables": to_jsonable_python(dict(plan.job_variables)),
        "parameter_openapi_schema": dict(plan.parameter_schema),
        "enforce_parameter_schema": plan.enforce_schema,
        # Empty on purpose: without steps Prefect would record the deployer's own directory.
        "pull_steps": [],
        "version": _version(plan),
    }
    if plan.concurrency_limit is not None:
        fields["concurrency_limit"] = plan.concurrency_limit
    return fields


def _limit(document: Mapping[str, Any]) -> int | None:
    limit = document.get("global_concurrency_limit")
    return None if limit is None else int(limit["limit"])


def _enabled(plan: DeploymentPlan) -> bool:
    return plan.schedule is None or plan.schedule.enabled


def _version(plan: DeploymentPlan) -> str | None:
    disabled = bool(build_native_schedules(plan.schedule)) and not _enabled(plan)
    return SCHEDULE_OFF if disabled else None
