"""The result of the check of upstreams, as artifacts of a flow run."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from prefect_instances.libs.services.state.context import Services
from prefect_instances.libs.services.views.explaining import (
    as_markdown,
    freshness,
    headline,
    page,
    table,
)


def show_freshness(services: Services, instance: str, flow_run_id: UUID) -> dict[str, Any]:
    """Check every upstream of an instance and write the result as artifacts of a flow run.

    A table has one row for each upstream; a page says why it blocks and what would unblock it.
    Returns the document of the check. Raises NotFound for an unknown instance.
    """
    document = freshness(services.database, services.now(), instance)
    key = f"freshness-{document['project']}-{document['instance']}".lower().replace("_", "-")
    said = as_markdown(headline(document))
    services.prefect.create_artifact(key, "table", table(document), said, flow_run_id)
    title = "What the instance waits for, and why"
    services.prefect.create_artifact(f"why-{key}", "markdown", page(document), title, flow_run_id)
    return document
