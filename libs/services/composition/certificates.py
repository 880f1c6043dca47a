"""The look-ahead certificate of what a flow publishes: find it, and require it."""

from __future__ import annotations

from sqlalchemy.orm import Session

from prefect_instances.libs.core.errors import PermanentError
from prefect_instances.libs.db.models import (
    DatasetVersion,
    FlowExecutionResource,
    GuardrailReport,
)
from prefect_instances.libs.db.repositories.runs import select_newest_report_of_run

LOOK_AHEAD = "look_ahead"
"""Kind of the guardrail report that is the certificate."""


class NotCertified(PermanentError):
    """No audit of the current version found it free of look-ahead: audit it, or correct it."""

    def __init__(self, name: str, why: str) -> None:
        self.name, self.why = name, why
        super().__init__(f"{name} has no look-ahead certificate: {why}")


def find_certificate(session: Session, flow: FlowExecutionResource) -> GuardrailReport | None:
    """Find the newest audit of the version that a flow publishes now; None if there is none.

    An audit of another configuration does not count, even if its output was the same.
    """
    version = session.get(DatasetVersion, flow.version_id) if flow.version_id else None
    if version is None:
        return None
    report = select_newest_report_of_run(session, version.produced_by_run, LOOK_AHEAD)
    if report is None or report.details_json["config_version"] != flow.consumed_config_version:
        return None
    return report


def require_certificate(session: Session, flow: FlowExecutionResource, name: str) -> None:
    """Raise NotCertified unless the newest audit of the flow's current version has passed."""
    report = find_certificate(session, flow)
    if report is None:
        raise NotCertified(name, f"its current version is not audited; `instances audit {name}`")
    if not report.passed:
        raise NotCertified(name, report.message)
