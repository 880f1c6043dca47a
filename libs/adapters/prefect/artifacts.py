"""Artifacts: the pages of a run in Prefect's UI."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal
from uuid import UUID

from pydantic_core import to_json

from prefect_instances.libs.adapters.prefect.api import Calls
from prefect_instances.libs.core.texts import shorten_line

ArtifactType = Literal["markdown", "table", "image"]
CELL_WIDTH = 240
"""Characters of a cell in a table; longer text is shortened."""

MOST = 50
"""How many artifacts of one flow run are listed."""


@dataclass(frozen=True, slots=True)
class ArtifactView:
    """One artifact of a flow run; ``data`` holds the rows of a table, the text of any other."""

    key: str
    title: str
    type: str
    data: Any


def shorten_cells(rows: Any) -> Any:
    """Return the rows of a table with every text on one line of at most ``CELL_WIDTH``."""
    if isinstance(rows, str):
        return shorten_line(rows, CELL_WIDTH)
    if isinstance(rows, Mapping):
        return {name: shorten_cells(cell) for name, cell in rows.items()}
    if isinstance(rows, list | tuple):
        return [shorten_cells(row) for row in rows]
    return rows


class ArtifactCalls(Calls):
    """Calls about artifacts."""

    def create_artifact(
        self,
        key: str,
        type_: ArtifactType,
        data: Any,
        description: str = "",
        flow_run_id: UUID | None = None,
        *,
        whole: bool = False,
    ) -> UUID:
        """Add a version of the artifact ``key`` (lower-case letters, digits, dashes).

        ``data`` is the text of a markdown artifact, the rows of a table (list of dicts, a dict of
        columns or a list of lists; NaN is shown as empty), the address or data URI of an image.
        Texts in the rows of a table are shortened to ``CELL_WIDTH``, unless ``whole``.
        """
        if type_ == "table" and not whole:
            data = shorten_cells(data)
        shown = to_json(data, inf_nan_mode="null").decode() if type_ == "table" else str(data)
        body = {
            "key": key,
            "type": type_,
            "data": shown,
            "description": description or None,
            "flow_run_id": flow_run_id,
        }
        document = self._api.request("POST", "/artifacts/", body, doing=f"create artifact {key!r}")
        return UUID(document["id"])

    def read_artifact(self, key: str, flow_run_id: UUID) -> Any | None:
        """Return the content of a flow run's artifact ``key``, or None if there is none.

        The rows of a table, the text of any other.
        """
        body = {"artifacts": {"key": {"any_": [key]}, "flow_run_id": {"any_": [flow_run_id]}}}
        doing = f"read artifact {key!r}"
        found = self._api.request("POST", "/artifacts/filter", {**body, "limit": 1}, doing=doing)
        if not found:
            return None
        data = found[0]["data"]
        return json.loads(data) if found[0]["type"] == "table" else data

    def list_artifacts(self, flow_run_id: UUID) -> list[ArtifactView]:
        """List the artifacts of a flow run, the oldest first."""
        body = {
            "artifacts": {"flow_run_id": {"any_": [flow_run_id]}},
            "sort": "ID_DESC",
            "limit": MOST,
        }
        found = self._api.request("POST", "/artifacts/filter", body, doing="list artifacts")
        return [_view(document) for document in sorted(found, key=lambda each: each["created"])]


def _view(document: dict[str, Any]) -> ArtifactView:
    data = document["data"]
    kind, key = document["type"] or "", document["key"] or document["id"]
    rows = json.loads(data) if kind == "table" and isinstance(data, str) else data
    return ArtifactView(key, document["description"] or key, kind, rows)
