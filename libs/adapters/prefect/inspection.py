"""Read-only calls about workers, pools and automations, for waiting and for ``doctor``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from prefect_instances.libs.adapters.prefect import PrefectGateway


@dataclass(frozen=True, slots=True)
class WorkerView:
    """A worker of a pool; ``heartbeat`` is the server's text for when it last reported."""

    name: str
    online: bool
    heartbeat: str


class Inspector(PrefectGateway):
    """The gateway plus the read calls that only the local runtime needs."""

    def workers(self, pool: str) -> list[WorkerView]:
        """Return all workers that ever reported for a pool; raise Refused for an unknown pool."""
        path = f"/work_pools/{quote(pool, safe='')}/workers/filter"
        documents = self._api.request("POST", path, {}, doing=f"list workers of {pool}")
        return [
            WorkerView(
                str(document["name"]),
                document["status"] == "ONLINE",
                str(document["last_heartbeat_time"]),
            )
            for document in documents
        ]

    def work_pool(self, name: str) -> Mapping[str, Any] | None:
        """Return the pool's document, or None."""
        path = f"/work_pools/{quote(name, safe='')}"
        document: Mapping[str, Any] | None = self._api.find(path, doing=f"read work pool {name}")
        return document

    def automations(self) -> dict[str, bool]:
        """Return whether each automation is enabled, by name."""
        found = self._api.pages("/automations/filter", {}, doing="list automations")
        return {str(document["name"]): bool(document["enabled"]) for document in found}
