"""Work pools."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx

from prefect_instances.libs.adapters.prefect.api import Api, Calls, Refused
from prefect_instances.libs.adapters.prefect.change import Change, EnsureResult
from prefect_instances.libs.core.errors import AlreadyExists


class WorkPoolCalls(Calls):
    """Calls about work pools."""

    def ensure_work_pool(
        self, name: str, type_: str, base_job_template: Mapping[str, Any] | None = None
    ) -> EnsureResult:
        """Ensure that a pool of this name and type exists.

        ``base_job_template`` fills in missing parts of the pool's own template; a value that a
        person set there is not changed. None leaves the template to the first worker of that type.

        Raises AlreadyExists if the name belongs to a pool of another type: Prefect cannot change a
        pool's type.
        """
        current = _find(self._api, name)
        if current is None:
            made = _create(self._api, name, type_, base_job_template or {})
            if isinstance(made, EnsureResult):
                return made
            current = made
        if current["type"] != type_:
            detail = f"its type is {current['type']}, not {type_}; name that type, or delete it"
            raise AlreadyExists("work pool", name, detail)
        merged = complete_template(current["base_job_template"], base_job_template or {})
        if merged == current["base_job_template"]:
            return EnsureResult(UUID(current["id"]), Change.UNCHANGED)
        body = {"base_job_template": merged}
        self._api.request("PATCH", _path(name), body, doing=f"update work pool {name}")
        return EnsureResult(UUID(current["id"]), Change.UPDATED)

    def read_worker_template(self, type_: str, defaults: Mapping[str, Any]) -> dict[str, Any]:
        """Return the base job template of Prefect's worker of a type, with our default values.

        ``defaults`` replaces those of single variables. The worker's package need not be installed
        here: the server lists the templates of Prefect's workers.
        """
        path = "/collections/views/aggregate-worker-metadata"
        listed = self._api.request("GET", path, doing=f"read the template of {type_} workers")
        (worker,) = [kinds[type_] for kinds in listed.values() if type_ in kinds]
        template: dict[str, Any] = worker["default_base_job_configuration"]
        for name, value in defaults.items():
            template["variables"]["properties"][name]["default"] = value
        return template


def _create(
    api: Api, name: str, type_: str, base_job_template: Mapping[str, Any]
) -> EnsureResult | dict[str, Any]:
    """Return the new pool's result, or the document of a pool that was created concurrently."""
    doing = f"create work pool {name}"
    body = {"name": name, "type": type_, "base_job_template": dict(base_job_template)}
    try:
        document = api.request("POST", "/work_pools/", body, doing=doing)
    except Refused as refusal:
        other = _find(api, name) if refusal.status == httpx.codes.CONFLICT else None
        if other is None:
            raise
        return other
    return EnsureResult(UUID(document["id"]), Change.CREATED)


def _find(api: Api, name: str) -> dict[str, Any] | None:
    return api.find(_path(name), doing=f"read work pool {name}")


def complete_template(current: Mapping[str, Any], ours: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``current`` plus the entries that only ``ours`` has; None counts as missing."""
    merged = dict(current)
    for key, value in ours.items():
        known = merged.get(key)
        if known is None:
            merged[key] = value
        elif isinstance(known, Mapping) and isinstance(value, Mapping):
            merged[key] = complete_template(known, value)
    return merged


def _path(name: str) -> str:
    return f"/work_pools/{quote(name, safe='')}"
