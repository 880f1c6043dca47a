"""Addresses of Evidently's pages."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Pages:
    """Where people see things; every address is empty where ``url`` is: nobody serves pages."""

    url: str

    def project(self, project_id: str) -> str:
        """All reports of a project."""
        return f"{self.url}/projects/{project_id}" if self.url else ""

    def report(self, project_id: str, report_id: str) -> str:
        """One report."""
        return f"{self.project(project_id)}/reports/{report_id}" if self.url else ""
