"""Evidently: drift and quality reports in a project of each model.

What belongs here: everything that speaks to Evidently, and its errors turned into ours. What must
not: what is compared (``libs.services.procedures.monitoring``).
"""

from prefect_instances.libs.adapters.evidently.pages import Pages
from prefect_instances.libs.adapters.evidently.reports import (
    Comparison,
    Monitoring,
    Report,
    workspace_folder,
)

__all__ = ["Comparison", "Monitoring", "Pages", "Report", "workspace_folder"]
