"""Evidently: drift and quality reports, in one project for each model.

What belongs here: all calls to Evidently, and the translation of its errors. What must not: which
data are compared (``libs.services.procedures.monitoring``).
"""

from prefect_instances.libs.adapters.evidently.pages import Pages
from prefect_instances.libs.adapters.evidently.reports import (
    Comparison,
    Monitoring,
    Report,
    workspace_folder,
)

__all__ = ["Comparison", "Monitoring", "Pages", "Report", "workspace_folder"]
