"""Artifacts: what a run shows to people in Prefect's pages."""

from __future__ import annotations

from typing import Any, Literal
from uuid import UUID

from pydantic_core import to_json

from libs.adapters.prefect.api import Calls

ArtifactType = Literal["markdown", "table", "image"]


class ArtifactCalls(Calls):
    """Calls about artifacts."""

    def create_artifact(
        self,
        key: str,
        type_: ArtifactType,
        data: Any,
        description: str = "",
        flow_run_id: UUID | None = None,
    ) -> UUID:
        """Add a version of the artifact ``key`` (lower-case letters, digits, dashes).

        ``data`` is the text of a markdown artifact, the rows of a table (list of dicts, a dict of
        columns or a list of lists; NaN is shown as empty), the address or data URI of an image.
        """
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
