"""Evidently: drift and quality reports, in one project for each model.

What belongs here: all calls to Evidently, and the translation of its errors. What must not: which
data are compared (``libs.services.procedures.monitoring``).
"""

from prefect_instances.libs.adapters.evidently.pages import EvidentlyPages
from prefect_instances.libs.adapters.evidently.reports import (
    DriftReport,
    DriftWindows,
    Monitoring,
    find_workspace_folder,
)

__all__ = ["DriftReport", "DriftWindows", "EvidentlyPages", "Monitoring", "find_workspace_folder"]
