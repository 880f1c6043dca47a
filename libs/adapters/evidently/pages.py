"""Addresses of Evidently's pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class EvidentlyPages:
    """Addresses of pages for people; all are empty if ``url`` is, because nothing serves them."""

    url: str

    def project(self, project_id: str) -> str:
        """Return the page with all reports of a project."""
        return f"{self.url}/projects/{project_id}" if self.url else ""

    def report(self, project_id: str, report_id: str) -> str:
        """Return the page of one report."""
        return f"{self.project(project_id)}/reports/{report_id}" if self.url else ""
