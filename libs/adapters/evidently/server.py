"""A workspace on an Evidently server.

Evidently's own client has gaps: it cannot list the runs of a project, does not find a project whose
name contains a slash, has no time limit, and takes a user and a password only in the address, which
its errors then repeat. Import this module lazily: it imports Evidently, which takes seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from evidently.ui.workspace import RemoteWorkspace

from prefect_instances.libs.adapters.evidently.http import read_version, send_request
from prefect_instances.libs.core.addresses import Address


class ServerWorkspace(RemoteWorkspace):  # type: ignore[misc]  # Evidently has no types
    """The workspace of the server at ``address``.

    Every call raises Unavailable if the server cannot answer, PermanentError if it refuses.
    """

    def __init__(self, address: Address, secret: str = "") -> None:
        self._address = address
        super().__init__(address.url, secret or None)

    def verify(self) -> None:
        """Raise PermanentError if the server is not Evidently."""
        read_version(self._address)

    def search_project(self, project_name: str, org_id: UUID | None = None) -> Sequence[Any]:
        """Return the projects of that name, which may contain slashes."""
        return [one for one in self.list_projects(org_id) if one.name == project_name]

    def list_runs(self, project_id: str | UUID) -> Sequence[UUID]:
        """Return the ids of a project's reports."""
        found = self._request(f"/api/projects/{project_id}/reports", "GET").json()
        return [UUID(report["id"]) for report in found]

    def _request(
        self,
        path: str,
        method: str,
        query_params: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        response_model: Any = None,
        **more: Any,
    ) -> Any:
        """Send a request as the base class does, with a time limit, credentials, and our errors."""
        from evidently._pydantic_compat import parse_obj_as

        request = self._prepare_request(path, method, query_params, body, **more)
        response = send_request(request, self._address)
        return parse_obj_as(response_model, response.json()) if response_model else response
